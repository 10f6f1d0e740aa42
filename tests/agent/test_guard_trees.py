"""The guard and applications: a real cgroup with real processes in it, all of which end with the lease."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from segue.adapters import clock
from segue.adapters.oci.cgroup import Cgroup
from segue.adapters.oci.tree import Tree
from segue.agent.guard_line import GuardLine
from segue.errors import Refused
from segue.policy import lease
from tests.agent.test_guard import guards, guest, line, wait_until

__all__ = ["guest", "line"]
STUBBORN: Final = """
import os, signal, sys, time
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
open(sys.argv[1] + "/cgroup.procs", "w").write("0")
os.setsid()
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        while True:  # It is never the same processes that are there.
            if os.fork():
                time.sleep(0.005)
                os._exit(0)
print("up", flush=True)
while True:
    time.sleep(100)
"""
"""Ignores every signal that can be ignored, and has three children that fork away all the time."""


def hierarchy() -> Path:
    for words in map(str.split, Path("/proc/mounts").read_text().splitlines()):
        if words[2] == "cgroup2":
            return Path(words[1])
    pytest.skip("this machine has no version 2 cgroups")


@pytest.fixture
def group() -> Iterator[Path]:
    folder = hierarchy() / f"segue-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield folder
    Cgroup(folder).kill()
    wait_until(lambda: not Cgroup(folder).populated())
    folder.rmdir()


@pytest.fixture
def stubborn(group: Path) -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen([sys.executable, "-c", STUBBORN, str(group)], stdout=subprocess.PIPE)
    assert made.stdout is not None
    assert made.stdout.readline() == b"up\n"
    wait_until(lambda: len(pids(group)) >= 3)
    yield made
    Cgroup(group).kill()
    made.stdout.close()
    made.wait()


def pids(group: Path) -> list[int]:
    return [int(word) for word in (group / "cgroup.procs").read_text().split()]


async def test_a_whole_tree_ends_with_the_lease_whatever_it_does(
    line: GuardLine, group: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    assert (await line.admit_tree("a1", group)).guests == (), "before the first lease nobody is admitted"
    await line.begin(clock.since_boot_s() + 3.0)
    assert (await line.admit_tree("a1", group)).guests == ("a1",)
    for pid in pids(group):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    ends_s = (await line.ask()).ends_s
    while clock.since_boot_s() < ends_s - 0.2:
        assert Cgroup(group).populated(), "it lives while its lease does, and ignores a signal to end"
        await asyncio.sleep(0.02)
    wait_until(lambda: not Cgroup(group).populated())
    assert clock.since_boot_s() >= ends_s
    assert stubborn.wait() == -signal.SIGKILL
    assert (await line.admit_tree("a1", group)).over, "nobody is admitted once it is over"
    assert not (await line.begin(clock.since_boot_s() + 60)).over, "and then nothing of it is left"


async def test_one_that_is_frozen_ends_as_well(
    line: GuardLine, group: Path, stubborn: subprocess.Popen[bytes]
) -> None:
    """A source's copy of a move, or a restored one that waits for its word."""
    await line.begin(clock.since_boot_s() + 3.0)
    await line.admit_tree("a1", group)
    await Cgroup(group).freeze()
    wait_until(lambda: not Cgroup(group).populated())
    assert stubborn.wait() == -signal.SIGKILL


@pytest.mark.parametrize("at_once", [True, False])
def test_a_tree_ends_also_where_the_kernel_has_no_word_for_that(
    group: Path, stubborn: subprocess.Popen[bytes], *, at_once: bool
) -> None:
    folder = os.open(group, os.O_PATH | os.O_DIRECTORY)
    tree = Tree(folder, at_once=at_once)

    def over() -> bool:
        if tree.populated():
            tree.kill()  # As the guard, with each look.
        return not tree.populated()

    wait_until(over)
    assert stubborn.wait() == -signal.SIGKILL
    tree.close()
    os.close(folder)


async def test_an_empty_cgroup_is_not_admitted(line: GuardLine, group: Path) -> None:
    """What came into it later would not be known."""
    await line.begin(clock.since_boot_s() + 60)
    said = await line.admit_tree("a1", group)
    assert (said.over, said.guests) == (False, ())


async def test_it_is_admitted_again_at_no_cost_and_another_one_of_its_name_is_another_one(
    line: GuardLine,
    group: Path,
    stubborn: subprocess.Popen[bytes],
    guest: subprocess.Popen[bytes],
    tmp_path: Path,
) -> None:
    await line.begin(clock.since_boot_s() + 5.0)
    await line.admit_tree("a1", group)
    await line.admit("m1", guest.pid)
    (guard,) = guards(tmp_path)
    known = len(os.listdir(f"/proc/{guard}/fd"))
    for _ in range(10):
        await line.admit_tree("a1", group)
        said = await line.admit("m1", guest.pid)
    assert said.guests == ("a1", "m1")
    assert len(os.listdir(f"/proc/{guard}/fd")) == known
    Cgroup(group).kill()
    wait_until(lambda: not Cgroup(group).populated())
    group.rmdir()
    group.mkdir()
    with subprocess.Popen(["sleep", "100"]) as second:
        (group / "cgroup.procs").write_text(str(second.pid))
        said = await line.admit_tree("a1", group)
        assert ("a1" in said.guests, said.over) == (True, False)
        assert second.wait() == -signal.SIGKILL


async def test_a_guard_that_is_retired_leaves_its_watchdog_armed_for_the_next_one(
    line: GuardLine, tmp_path: Path
) -> None:
    (before,) = guards(tmp_path)
    assert not (await line.ask()).is_old
    await line.retire()
    assert (tmp_path / "watchdog").read_bytes() == b"1", "not disarmed: nobody may count on less"
    with pytest.raises(OSError, match="refused"):
        await line.ask()
    ends_s = clock.since_boot_s() + 60
    await line.start(str(tmp_path / "watchdog"), 4, ends_s)
    assert guards(tmp_path) != [before]
    said = await line.ask()
    assert (said.over, said.ends_s, said.awaits) == (False, ends_s, True)
    await line.complete()
    assert not (await line.ask()).awaits


async def test_none_takes_the_place_of_one_that_was_to_let_the_machine_be_reset(
    line: GuardLine, tmp_path: Path
) -> None:
    """To open a watchdog is to feed it."""
    await line.retire()
    fed_s = (tmp_path / "watchdog").stat().st_mtime
    with pytest.raises(Refused, match="resets the machine"):
        await line.start(str(tmp_path / "watchdog"), 4, clock.since_boot_s() - lease.KILL_S)
    assert (tmp_path / "watchdog").stat().st_mtime == fed_s


async def test_a_guest_is_never_taken_for_admitted_when_the_guard_has_no_handle_left(
    line: GuardLine, guest: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """It holds more of them than the usual limit of 1024; and beyond its own limit it does not say that it has it."""
    await line.begin(clock.since_boot_s() + 60)
    (guard,) = guards(tmp_path)
    assert resource.prlimit(guard, resource.RLIMIT_NOFILE)[0] > 1024
    resource.prlimit(guard, resource.RLIMIT_NOFILE, (24, 24))
    for number in range(40):
        try:
            said = await line.admit(f"m{number}", guest.pid)
        except OSError:
            break
        if f"m{number}" not in said.guests:
            break
    else:
        pytest.fail("40 handles fit into 24")
    assert len(said.guests) <= number
