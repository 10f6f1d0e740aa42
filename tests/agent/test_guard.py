"""The guard as a process: it ends what is overdue, feeds a watchdog only while it may, and outlives who started it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from segue.adapters import clock
from segue.agent.guard_line import GuardLine
from segue.errors import Refused

LIMIT_S = 10.0


def wait_until(met: Callable[[], bool]) -> None:
    until_s = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < until_s
        time.sleep(0.01)


@pytest.fixture
def guest() -> Iterator[subprocess.Popen[bytes]]:
    made = subprocess.Popen(["sleep", "100"])
    yield made
    made.kill()
    made.wait()


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[GuardLine]:
    made = GuardLine(tmp_path / "guard.sock")
    await made.start(str(tmp_path / "watchdog"), 4)
    yield made
    for pid in guards(tmp_path):
        os.kill(pid, signal.SIGKILL)


def guards(folder: Path) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text().split("\0")
        except OSError:
            continue
        if "segue.agent.guard" in words and str(folder / "guard.sock") in words:
            found.append(int(path.parent.name))
    return found


async def test_a_guest_ends_with_the_lease_and_lives_while_it_is_renewed(
    line: GuardLine, guest: subprocess.Popen[bytes]
) -> None:
    assert (await line.ask()).over
    assert (await line.admit("u1", guest.pid)).over, "before the first lease nobody is admitted"
    assert (await line.ask()).guests == ()
    assert not (await line.begin(clock.since_boot_s() + 3.0)).over
    assert (await line.admit("u1", guest.pid)).guests == ("u1",)
    said = await line.renew(clock.since_boot_s() + 4.0)
    assert not said.over
    while clock.since_boot_s() < said.ends_s - 0.3:
        assert guest.poll() is None
        await asyncio.sleep(0.02)
    wait_until(lambda: guest.poll() is not None)
    assert clock.since_boot_s() >= said.ends_s
    assert guest.returncode == -signal.SIGKILL
    assert (await line.renew(clock.since_boot_s() + 60)).over, "what is over is not renewed"
    assert not (await line.begin(clock.since_boot_s() + 60)).over


async def test_a_watchdog_is_fed_by_a_guard_that_runs_and_by_no_other(
    line: GuardLine, tmp_path: Path
) -> None:
    file = tmp_path / "watchdog"
    fed_s = file.stat().st_mtime
    wait_until(lambda: file.stat().st_mtime > fed_s)
    (pid,) = guards(tmp_path)
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        await line.ask()
    fed_s = file.stat().st_mtime
    await asyncio.sleep(0.5)
    assert (file.stat().st_mtime, file.read_bytes()) == (fed_s, b"1"), "it stays armed"
    os.kill(pid, signal.SIGCONT)
    assert (await line.ask()).over, "a service that is stopped does not take it along"
    await line.end()
    wait_until(lambda: file.read_bytes() == b"V")


async def test_a_machine_without_a_watchdog_has_no_guard(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="is no watchdog"):
        await GuardLine(tmp_path / "guard.sock").start("/dev/no-watchdog-here", 4)
    with pytest.raises(Refused, match="is no watchdog"):
        await GuardLine(tmp_path / "guard.sock").start("/dev/../tmp/x", 4)
