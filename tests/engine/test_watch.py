"""The watch on virtual time: its schedule, guests that must not be disturbed, hanging probes, and restarts."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from segue.adapters.store.health_file import HealthFile
from segue.engine import watch as engine
from segue.engine.watch import Ears, Kept, Traffic, Watch
from segue.errors import Refused
from segue.model.health import Blind, Health, Kind, Level, Part, Reading, Sample
from segue.policy.health_table import BUILT_IN

DIMM = Part(Kind.MEMORY, "DIMM_A1")


class VirtualClock:
    """Port `Clock`."""

    def __init__(self) -> None:
        self.at_s = 1_000_000.0

    def wall_s(self) -> float:
        return self.at_s

    def steady_s(self) -> float:
        return self.at_s

    async def rest(self, seconds: float) -> None:
        self.at_s += seconds
        await asyncio.sleep(0)


@dataclass
class Counted:
    """Port `Probe`: a DIMM whose errors the test says."""

    name: str = "edac"
    every_s: float = 30.0
    heavy: bool = False
    errors: float = 0.0
    looks: int = 0
    blind: tuple[Blind, ...] = ()
    gate: threading.Event | None = None

    def look(self) -> Sample:
        self.looks += 1
        if self.gate is not None:
            self.gate.wait(20)
        return Sample(self.name, (Reading(DIMM, "corrected", self.errors, "/sys/ce_count"),), self.blind)


@dataclass
class Scene:
    path: Path
    probes: tuple[Counted, ...] = field(default_factory=lambda: (Counted(),))
    clock: VirtualClock = field(default_factory=VirtualClock)
    traffic: Traffic = Traffic.CALM
    told: list[Health] = field(default_factory=list)
    late_s: list[float] = field(default_factory=list)
    boot: str = "boot 1"

    def watch(self, every_s: float = 0.0) -> Watch:
        ears = Ears(lambda: self.traffic, self.told.append, self.late_s.append)
        shelf = HealthFile(self.path / "health.json", Kept)
        return Watch("host1", self.boot, self.probes, BUILT_IN, shelf, self.clock, ears, every_s)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


async def rounds(scene: Scene, watch: Watch, seconds: float, step_s: float = 10.0) -> None:
    for _ in range(int(seconds / step_s)):
        await watch.round()
        await scene.clock.rest(step_s)


async def test_it_looks_by_the_schedule_of_each_probe(scene: Scene) -> None:
    fast, slow = Counted(), Counted("smart", every_s=1_800, heavy=True)
    scene.probes = (fast, slow)
    await rounds(scene, scene.watch(), 3_600)
    assert (fast.looks, slow.looks) == (120, 2)
    await rounds(scene, scene.watch(every_s=10), 3_600)
    assert (fast.looks, slow.looks) == (480, 4), "what starts programs is not hurried"


async def test_it_never_looks_in_a_blackout_and_late_while_guests_move(scene: Scene) -> None:
    fast, heavy = Counted(), Counted("smart", every_s=60, heavy=True)
    scene.probes = (fast, heavy)
    watch = scene.watch()
    scene.traffic = Traffic.BLACKOUT
    await rounds(scene, watch, 600)
    assert (fast.looks, heavy.looks) == (0, 0)
    scene.traffic = Traffic.MOVING
    await watch.round()
    assert (fast.looks, heavy.looks) == (1, 0), "long overdue, it looks between blackouts"
    await rounds(scene, watch, engine.LATE_MOST_S)
    assert fast.looks == 1
    scene.traffic = Traffic.CALM
    await watch.round()
    assert (fast.looks, heavy.looks) == (2, 1)


async def test_a_change_is_told_once_and_outlives_the_agent(scene: Scene) -> None:
    (probe,) = scene.probes
    watch = scene.watch()
    await rounds(scene, watch, 60)
    probe.errors = 37
    await rounds(scene, watch, 300)
    assert [seen.level for seen in scene.told] == [Level.SUSPECT]
    again = scene.watch()
    assert again.now.level is Level.SUSPECT
    assert again.now.parts[0].reasons[0].text.startswith("DIMM_A1: 37 corrected errors in the last")
    scene.boot, probe.errors = "boot 2", 70
    rebooted = scene.watch()
    await rounds(scene, rebooted, 60)
    assert rebooted.now.level is Level.FAILING, "33 more since the boot of the old counter"
    assert [one.level for one in rebooted.now.incidents] == [Level.FAILING]


async def test_a_person_says_that_it_was_mended(scene: Scene) -> None:
    (probe,) = scene.probes
    watch = scene.watch()
    await watch.round()
    for probe.errors in (250, 500):
        await rounds(scene, watch, 60)
    assert watch.shown().level is Level.FAILING
    with pytest.raises(Refused, match="no part memory/DIMM_Z9"):
        await watch.rectified("memory/DIMM_Z9")
    mended = await watch.rectified("memory/DIMM_A1")
    assert mended.level is Level.HEALTHY
    await rounds(scene, watch, 60)
    assert watch.shown().level is Level.HEALTHY
    assert scene.watch().now.incidents[0].ended_s > 0


async def test_a_probe_that_hangs_is_said_and_not_asked_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "HANGS_S", 0.05)
    bad, good = Counted("bad", gate=threading.Event()), Counted("good")
    scene.probes = (bad, good)
    watch = scene.watch()
    await rounds(scene, watch, 300)
    assert (bad.looks, good.looks) == (1, 10)
    assert "has not come back" in watch.shown().blind[0].why
    assert bad.gate is not None
    bad.gate.set()
    while bad.looks == 1:
        await asyncio.sleep(0.01)
        await rounds(scene, watch, 60)
    assert watch.shown().blind == ()


async def test_a_look_that_takes_longer_than_it_is_waited_for_counts(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forty disks that are asked one after the other."""
    monkeypatch.setattr(engine, "HANGS_S", 0.05)
    slow = Counted("smart", every_s=1_800, gate=threading.Event(), errors=5)
    scene.probes = (slow,)
    watch = scene.watch()
    await watch.round()
    assert watch.shown().parts == ()
    assert slow.gate is not None
    slow.gate.set()
    while not watch.shown().parts:
        await asyncio.sleep(0.01)
        await watch.round()
    assert (slow.looks, watch.shown().blind) == (1, ())


async def test_a_damaged_file_is_put_aside_and_said(scene: Scene) -> None:
    path = scene.path / "health.json"
    path.write_text('{"history": {"series"')
    watch = scene.watch()
    assert "begins anew" in watch.shown().blind[0].why
    assert (scene.path / "health.damaged").read_text() == '{"history": {"series"'
    await watch.round()
    assert watch.now.level is Level.HEALTHY


async def test_a_file_that_cannot_be_written_is_said(scene: Scene) -> None:
    watch = scene.watch()
    (scene.path / "health.half").mkdir()
    await rounds(scene, watch, 2 * engine.SAVE_S)
    assert "Is a directory" in watch.shown().blind[0].why


async def test_a_rest_that_is_too_long_is_heard(scene: Scene) -> None:
    watch = scene.watch()
    real = scene.clock.rest

    async def slow(seconds: float) -> None:
        await real(seconds + 0.5)

    scene.clock.rest = slow  # type: ignore[method-assign]
    running = asyncio.create_task(watch.run())
    while not scene.late_s:
        await asyncio.sleep(0)
    running.cancel()
    assert scene.late_s[0] == pytest.approx(0.5)
