"""A real controller whose disk takes nothing, whose clock jumps, that was frozen, that hears all at once."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from segue.errors import SegueError
from tests.controller.rig import Process, Rig
from tests.controller.toy import GIB, ToyHost

MANY: Final = 4000
CLOCK: Final = """
import os, pathlib, time
_real, _shift = time.time, pathlib.Path(os.environ["CLOCK_SHIFT"])
time.time = lambda: _real() + float(_shift.read_text() or 0)
"""
"""A wall clock that is set by hand while the program runs; Python imports it before anything else."""


async def fleet_of_two(rig: Rig, guests: int) -> ToyHost:
    """Two hosts, and guests on the first."""
    one = await rig.host("host1")
    await rig.host("host2")
    for number in range(guests):
        one.add(f"g{number}", GIB // 4)
    await rig.up(2)
    await rig.until("guests are known", lambda: rig.caller().call("GET", "/status")["guests"] == guests)
    return one


async def drain(rig: Rig, parallel: int = 1) -> str:
    begun = await rig.call("POST", "/drains", {"hosts": ["host1"], "parallel": parallel})
    await rig.until("a first guest has moved", rig.world.hosts["host2"].names)
    return str(begun["id"])


def demand_each_moved_once(rig: Rig, ended: dict[str, Any], guests: int) -> None:
    assert ended["state"] == "done", ended
    assert sorted(ended["moved"]) == sorted(f"g{number}" for number in range(guests))
    assert rig.world.hosts["host1"].names() == []
    assert max(Counter(guest for guest, *_ in rig.world.begun).values()) == 1


def leading(rig: Rig) -> tuple[Process, Process]:
    """The one that leads, and the other."""
    status = rig.caller().call("GET", "/status")
    return (
        (rig.controllers[0], rig.controllers[1])
        if status["leader"] == "c1"
        else (rig.controllers[1], rig.controllers[0])
    )


async def test_a_leader_that_was_frozen_does_nothing_when_it_wakes_up(rig: Rig) -> None:
    rig.start("c1"), rig.start("c2")
    rig.world.move_s = 0.8
    one = await fleet_of_two(rig, 8)
    number = await drain(rig)
    first, second = await asyncio.to_thread(leading, rig)
    obeyed = one.epoch()
    await asyncio.to_thread(first.freeze, rig.path / "store.db")
    other = rig.caller(urls=(second.url,))
    await rig.until("the other leads", lambda: other.call("GET", "/status")["epoch"] > obeyed)
    await rig.until("host1 obeys it", lambda: one.epoch() > obeyed)
    first.thaw()
    old = rig.caller(urls=(first.url,))
    await rig.until("the old one knows it", lambda: old.call("GET", "/status")["epoch"] > obeyed)
    demand_each_moved_once(rig, await rig.ended(number, 60.0), 8)
    assert rig.world.most_at_once == 1
    assert one.epochs == sorted(one.epochs)


async def test_wall_clocks_that_jump_change_nothing(rig: Rig) -> None:
    folder, shift = rig.path / "site", rig.path / "shift"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK)
    shift.write_text("0")
    rig.start("c1", PYTHONPATH=f"{folder}:{os.environ.get('PYTHONPATH', '')}", CLOCK_SHIFT=str(shift))
    rig.world.move_s = 0.5
    await fleet_of_two(rig, 8)
    before = await rig.call("GET", "/status")

    async def jump() -> None:
        for days in itertools.cycle((1, -1, 400, -400, 0)):
            shift.with_name("half").write_text(str(days * 86400))
            shift.with_name("half").replace(shift)
            await asyncio.sleep(0.4)

    jumping = asyncio.create_task(jump())
    rig.world.hosts["host2"].refuses.add("g7")
    begun = await rig.call("POST", "/drains", {"hosts": ["host1"], "parallel": 2})
    seen = await rig.until("g7 was refused", lambda: refusals(rig, begun["id"]))
    rig.world.hosts["host2"].refuses.clear()
    await rig.host("host3")
    ended = await rig.ended(begun["id"], 60.0)
    jumping.cancel()
    after = await rig.call("GET", "/status")
    assert seen
    demand_each_moved_once(rig, ended, 8)
    assert (after["leader"], after["epoch"]) == (before["leader"], before["epoch"]), "nobody took over"
    assert abs(ended["created_s"] - time.time()) > 3600, "the clock did jump"


def refusals(rig: Rig, number: str) -> int:
    return sum(trial["failures"] for trial in rig.caller().call("GET", f"/tasks/{number}")["trials"])


@pytest.fixture
async def on_small_disk(rig: Rig) -> AsyncIterator[Rig]:
    """Its store lies on a file system of its own, of two MiB."""
    disk = rig.path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "segue-test", str(disk)], check=True)
    rig.store = f"sqlite:///{disk}/store.db"
    yield rig
    await rig.close()
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> None:
    """Until nothing more goes on it."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return


@pytest.mark.slow
@pytest.mark.lab
async def test_a_full_disk_stops_decisions_alone(on_small_disk: Rig) -> None:
    rig = on_small_disk
    rig.start("c1")
    rig.world.move_s = 0.5
    one = await fleet_of_two(rig, 6)
    number = await drain(rig)
    fill(rig.path / "disk")

    def refused() -> str:
        try:
            rig.caller().call("PATCH", "/hosts/host2", {"labels": {"x": "y" * 9000}})
        except SegueError as error:
            return str(error)
        return ""

    said = await rig.until("a decision is refused", refused)
    assert "full" in said.lower(), said
    await rig.until("what was under way has ended", lambda: rig.world.running_at_once == 0)
    begun = len(rig.world.begun)
    await asyncio.sleep(3.0)
    assert len(rig.world.begun) == begun < 6, "nothing is begun that cannot be noted"
    assert len(one.names()) == 6 - begun
    (rig.path / "disk" / "ballast").unlink()
    demand_each_moved_once(rig, await rig.ended(number, 60.0), 6)


@pytest.mark.lab
@pytest.mark.slow
async def test_on_a_read_only_disk_it_says_so_and_goes_on_later(on_small_disk: Rig) -> None:
    rig, disk = on_small_disk, str(on_small_disk.path / "disk")
    first = rig.start("c1")
    rig.world.move_s = 0.5
    await fleet_of_two(rig, 6)
    number = await drain(rig)
    first.kill()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    second = rig.start("c1", port=first.port)
    await rig.until("it ends", lambda: not second.alive)
    assert "read-only" in rig.logs().lower()
    await rig.until("what was under way has ended", lambda: rig.world.running_at_once == 0)
    subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    rig.start("c1", port=first.port)
    demand_each_moved_once(rig, await rig.ended(number, 60.0), 6)


async def test_thousands_of_events_at_once_are_all_told_and_nobody_is_replaced(rig: Rig) -> None:
    rig.start("c1"), rig.start("c2")
    hosts = [await rig.host(f"host{number}") for number in range(4)]
    await rig.up(4)
    before = await rig.call("GET", "/status")
    begun_s = time.monotonic()
    for host in hosts:
        for number in range(MANY // 4):
            host.add(f"{host.name}-{number}", GIB >> 10)
    await asyncio.gather(*(rig.call("POST", "/tokens", {"name": f"host{n}"}) for n in range(40)))

    def all_known() -> bool:
        seen = rig.caller().call("GET", "/status")
        return bool(seen["guests"] == MANY)

    await rig.until("all is known", all_known, 60.0)
    print(f"{MANY} guests and 40 tokens after {time.monotonic() - begun_s:.1f} s")
    after = await rig.call("GET", "/status")
    assert (after["leader"], after["epoch"]) == (before["leader"], before["epoch"])
    assert after["hosts_up"] == 4

    def alike() -> bool:
        callers = [rig.caller(urls=(controller.url,)) for controller in rig.controllers]
        return len({caller.call("GET", "/status")["guests"] for caller in callers}) == 1

    await rig.until("both say the same", alike)
