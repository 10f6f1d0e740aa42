"""What a real process holds is seen, by looking at this test's own children."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segue.adapters.criu import look, opened, surroundings
from segue.model.belongings import Held, Holding
from segue.policy import mobility

LOOKS = 300
HOLDER = """
import ctypes, os, socket, sys
kept = [socket.socket(), socket.socket(socket.AF_UNIX), open("/dev/zero", "rb")]
libc = ctypes.CDLL(None)
watch = libc.inotify_init1(0)
assert libc.inotify_add_watch(watch, sys.argv[1].encode(), 2) > 0
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def _holder(tmp_path: Path) -> Iterator[tuple[Held, ...]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert select.select([process.stdout], [], [], 20.0)[0]
        group = tmp_path / "group"
        group.mkdir()
        (group / "cgroup.procs").write_text(f"{process.pid}\n")
        yield look.belongings(group)
    finally:
        process.stdin.close()
        process.wait()


def test_sockets_devices_and_watches_are_seen(tmp_path: Path) -> None:
    with _holder(tmp_path) as seen:
        sorts = {(one.sort, one.what) for one in seen}
    assert {(Holding.SOCKET, "TCP"), (Holding.SOCKET, "UNIX-STREAM"), (Holding.DEVICE, "/dev/zero")} <= sorts
    (watched,) = {one.what for one in seen if one.sort is Holding.WATCH}
    assert watched == _type_of(tmp_path)


def _type_of(folder: Path) -> str:
    """By the mount table of this very process: the last mount that holds the folder."""
    mounts = [line.partition(" - ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    number = os.stat(folder).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    return next(right.split()[0] for left, _, right in mounts if left.split()[2] == wanted)


def test_a_plain_program_may_move(tmp_path: Path) -> None:
    with _holder(tmp_path) as seen:
        own = [one for one in seen if one.sort not in {Holding.MOUNT, Holding.WATCH}]
    assert mobility.obstacles(own) == ()


def test_a_kernel_that_refuses_what_criu_asks_is_named() -> None:
    assert look.sockets_fault("4.1.1", "6.18.44-x")
    assert not look.sockets_fault("4.2.1", "6.18.44-x")
    assert not look.sockets_fault("4.1.1", "6.12.9-amd64")


RARE = """
import ctypes, os, select, socket, sys, tempfile, threading
where, outside = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(where)
big = os.open("big", os.O_RDWR | os.O_CREAT); os.pwrite(big, bytes(1 << 20), 0); os.unlink("big")
one = os.open("one", os.O_RDWR | os.O_CREAT); os.link("one", "two"); os.unlink("one")
honest = os.open("honest (deleted)", os.O_RDWR | os.O_CREAT)
packets = os.pipe2(os.O_DIRECT); plain = os.pipe()
epoll = select.epoll(); epoll.register(plain[0]); epoll.register(plain[1]); kept = os.dup(plain[0]); os.close(plain[0])
queue = libc.mq_open(b"/segue-look-%d" % os.getpid(), os.O_CREAT | os.O_RDWR, 0o600, None)
libc.mq_unlink(b"/segue-look-%d" % os.getpid())
talk = socket.socket(socket.AF_UNIX); talk.connect(outside)
pair = socket.socketpair()
listener = socket.socket(socket.AF_UNIX); listener.bind("l"); listener.listen()
silent = socket.socket(socket.AF_UNIX); silent.connect("l")
caller = socket.socket(socket.AF_UNIX); caller.connect("l"); caller.send(b"hello")
print(queue, flush=True)
sys.stdin.read()
"""


@contextmanager
def _rare(tmp_path: Path) -> Iterator[set[tuple[Holding, str]]]:
    group, outside = tmp_path / "group", tmp_path / "outside"
    group.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(outside))
        listener.listen()
        words = [sys.executable, "-c", RARE, str(tmp_path), str(outside)]
        # In a network of its own, as an application is: what it speaks to here is outside.
        with subprocess.Popen(
            ["unshare", "--net", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert int(process.stdout.readline()) >= 0
            other, _ = listener.accept()
            (group / "cgroup.procs").write_text(f"{process.pid}\n")
            with other:
                yield {(one.sort, one.what.rpartition("/")[2]) for one in look.belongings(group)}
            process.kill()


@pytest.mark.lab
def test_what_fails_only_at_the_dump_is_seen_before(tmp_path: Path) -> None:
    with _rare(tmp_path) as seen:
        sorts = [sort for sort, _ in seen]
        assert {
            (Holding.DELETED, "big"),
            (Holding.UNNAMED, "one"),
            (Holding.OUTSIDE, "outside"),
            (Holding.CALL, ""),
        } <= seen
        assert [sorts.count(sort) for sort in (Holding.UNNAMED, Holding.PACKETS, Holding.POLL)] == [1, 1, 1]
        (queue,) = [what for sort, what in seen if sort is Holding.ELSEWHERE]
        assert queue.startswith("segue-look-")


BUSY = """
import select, socket
epoll = select.epoll()
print("ready", flush=True)
while True:
    near, far = socket.socketpair()
    epoll.register(near)
    near.close()
    far.close()
"""


def test_what_is_closed_while_we_look_is_no_obstacle() -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            seen = {one.sort for _ in range(LOOKS) for one in opened.of(process.pid)}
        finally:
            process.kill()
    assert Holding.POLL not in seen


SAVES = """
import os, select, socket, sys
listener = socket.socket(); listener.bind(("127.0.0.1", 0)); listener.listen()
epoll = select.epoll(); epoll.register(listener)
child = os.fork()
if not child:
    listener.close()
    print(os.getpid(), flush=True)
    sys.stdin.read()
os.wait()
"""


def test_a_child_may_close_what_its_parent_waits_for(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAVES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        (tmp_path / "cgroup.procs").write_text(f"{child}\n{process.pid}\n")
        seen = [(one.sort, one.pid) for one in look.belongings(tmp_path)]
        assert Holding.POLL not in [sort for sort, _ in seen]
        (tmp_path / "cgroup.procs").write_text(f"{child}\n")
        seen = [(one.sort, one.pid) for one in look.belongings(tmp_path)]
        assert (Holding.POLL, child) in seen


def test_groups_of_cards_are_read_as_addresses() -> None:
    igmp = (
        "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n"
        "\t\t\t\t010000E0     1 0:00000000\t\t0\n2\teth0      :     2      V3\n"
        "\t\t\t\t030201EF     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
    )
    igmp6 = (
        "2    eth0            ff020000000000000000000000001234     1 00000004 0\n"
        "2    eth0            ff0200000000000000000001ff14f366     1 00000004 0\n"
        "1    lo              ff020000000000000000000000000001     1 0000000C 0\n"
    )
    found = surroundings.groups(7, igmp.splitlines(), igmp6.splitlines())
    assert [one.what for one in found] == ["239.1.2.3", "ff02::1234"]
