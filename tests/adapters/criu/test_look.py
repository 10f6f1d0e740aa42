"""What a real process holds is seen, by looking at this test's own children."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segue.adapters.criu import look
from segue.model.belongings import Held, Holding
from segue.policy import mobility

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
