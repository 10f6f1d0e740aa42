"""Faults in an application's move: it runs once, where it should, with its connection, and nothing is left behind."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segue.errors import SegueError
from tests.lab.app_scene import AppScene
from tests.lab.moves import ENDS, Move, wait_until

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]
slow = pytest.mark.slow
STUCK_S = 40.0
"""How long whoever is frozen stays so: longer than anything in the engine waits for it."""


@pytest.fixture(scope="module")
def app_stage(labs_folder: Path) -> Iterator[AppScene]:
    made = AppScene(f"g{os.getpid()}")
    yield made
    made.down()


@pytest.fixture
def scene(app_stage: AppScene) -> AppScene:
    """The stage, calm: after a case that failed it is made anew."""
    try:
        assert app_stage.is_up
        app_stage.begin()
    except (AssertionError, SegueError, OSError):
        app_stage.heal()
        app_stage.begin()
    return app_stage


def demand(scene: AppScene, owner: str, life: int) -> None:
    """It runs there alone, as the same life with the same connection, and both hosts are clean."""
    scene.demand_calm()
    assert scene.owner() == owner
    assert scene.client.life() == life
    scene.demand_connected()


def halted(scene: AppScene, side: str, place: str, fault: Callable[[str, str], object]) -> Move:
    """A migration that is hit when that side's agent comes to the place: `fault` is told source and target."""
    source, target = scene.route()
    halt = scene.halt(source if side == "source" else target, place)
    move = scene.migrate(target)
    halt.wait()
    fault(source, target)
    halt.go()
    return move


def ended(move: Move) -> str:
    """The host that must have it now, by the way the migration ended."""
    move.until("the end", lambda record: record["stage"] in ENDS)
    stage = move.record()["stage"]
    assert stage != "lost", move.record()["failure"]
    return move.target if stage == "done" else move.source


# An agent that was restarted in the copy turns back, as what carries the files ended with the one before.
AT_THE_SOURCE = [
    pytest.param("after offered", "done", marks=slow),
    pytest.param("done reserve target", "done", marks=slow),
    pytest.param("begun join networks", "done", marks=slow),
    pytest.param("done join networks", "done", marks=slow),
    pytest.param("begun copy memory", "done", marks=slow),
    pytest.param("done copy memory", "aborted", marks=slow),
    pytest.param("begun hand off", "aborted", marks=slow),
    pytest.param("dumped", "aborted", marks=slow),
    pytest.param("restored there", "aborted", marks=slow),
    pytest.param("before released", "aborted", marks=slow),
    pytest.param("after released", "done"),
    pytest.param("done hand off", "done", marks=slow),
    pytest.param("begun forward late frames", "done", marks=slow),
    pytest.param("begun retire source", "done", marks=slow),
    pytest.param("before absent", "done", marks=slow),
    pytest.param("after absent", "done", marks=slow),
    pytest.param("done retire source", "done", marks=slow),
]


@slow
@pytest.mark.parametrize(("place", "end"), AT_THE_SOURCE)
def test_the_sources_agent_is_killed(scene: AppScene, place: str, end: str) -> None:
    source, target = scene.route()
    life = scene.client.life()
    scene.arm(source, place)
    scene.migrate(target).end(end)
    demand(scene, target if end == "done" else source, life)


@slow
@pytest.mark.parametrize(
    "place", ["before incoming", "after incoming", "hears grant", "before owner", "after owner"]
)
def test_the_targets_agent_is_killed(scene: AppScene, place: str) -> None:
    _, target = scene.route()
    life = scene.client.life()
    scene.arm(target, place)
    scene.migrate(target).end("done")
    demand(scene, target, life)


BEFORE = ["dumped", "restored there", "before released"]
"""Places of the source's agent in the blackout, with everything still to be taken back."""
VICTIMS = ["source criu", "target criu", "source porter", "target porter", "target agent"]
HITS = [
    pair
    for pair in itertools.product(VICTIMS, [*BEFORE, "after released"])
    if pair != ("target criu", "dumped")  # It is not there yet.
]


def hit(scene: AppScene, victim: str, number: int) -> Callable[[str, str], object]:
    side, _, program = victim.partition(" ")

    def inflict(source: str, target: str) -> None:
        found = scene.signal(source if side == "source" else target, program, number)
        assert found or number == signal.SIGCONT, f"no {victim}"  # It may have been woken, and ended, before.

    return inflict


@slow
@pytest.mark.parametrize(("victim", "place"), HITS)
def test_one_is_killed_in_the_blackout(scene: AppScene, victim: str, place: str) -> None:
    life = scene.client.life()
    move = halted(scene, "source", place, hit(scene, victim, signal.SIGKILL))
    demand(scene, ended(move), life)


@slow
@pytest.mark.parametrize(("victim", "place"), HITS)
@pytest.mark.parametrize("for_s", [1.0, STUCK_S])
def test_one_is_frozen_in_the_blackout(scene: AppScene, victim: str, place: str, for_s: float) -> None:
    life = scene.client.life()
    move = halted(scene, "source", place, hit(scene, victim, signal.SIGSTOP))
    scene.rest(for_s)
    hit(scene, victim, signal.SIGCONT)(move.source, move.target)
    demand(scene, ended(move), life)


@slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.05])
def test_criu_is_hit_at_its_work(scene: AppScene, side: str, number: int, after_s: float) -> None:
    """Somewhere in the dump or in the restore; what is frozen stays so until something gives up waiting for it.

    Where the source's is killed the application may lose its connections, whose sockets CRIU had taken, or its life, as
    CRIU's own code was in it; then it starts again from its files, and that is said.
    """
    source, target = scene.route()
    life = scene.client.life()
    move = scene.migrate(target)
    host = source if side == "source" else target
    scene.catch_at_work(host)
    scene.rest(after_s)
    assert scene.signal(host, "criu", number)
    move.until("the end", lambda record: record["stage"] in ENDS)
    scene.signal(host, "criu", signal.SIGCONT)
    if (side, number) == ("source", signal.SIGKILL):
        assert move.record()["stage"] in {"aborted", "lost"}
        wait_until(scene.client.answered, "it runs, or runs again")
        scene.client.breaks = 0
        if move.record()["stage"] == "lost":
            demand(scene, source, scene.client.life())
            return
    demand(scene, ended(move), life)


@slow
@pytest.mark.parametrize(
    "place",
    [
        "undoing",
        "undone copy memory",
        "undone join networks",
        "before owner",
        "after owner",
        "undone reserve target",
    ],
)
def test_the_sources_agent_is_killed_while_it_undoes(scene: AppScene, place: str) -> None:
    life = scene.client.life()

    def fault(source: str, target: str) -> None:
        scene.signal(target, "porter")
        scene.arm(source, place)

    move = halted(scene, "source", "dumped", fault)
    move.end("aborted")
    demand(scene, move.source, life)
    scene.migrate(move.target).end("done")
    demand(scene, move.target, life)


@slow
@pytest.mark.parametrize("place", ["hears withdraw", "before absent", "after absent"])
def test_the_targets_agent_is_killed_while_the_source_undoes(scene: AppScene, place: str) -> None:
    life = scene.client.life()

    def fault(_: str, target: str) -> None:
        scene.signal(target, "porter")
        scene.arm(target, place)

    move = halted(scene, "source", "dumped", fault)
    move.end("aborted")
    demand(scene, move.source, life)


@slow
@pytest.mark.parametrize("way", ["both ways", "to target", "to source"])
@pytest.mark.parametrize(
    "place", ["begun reserve target", "begun join networks", "begun copy memory", "begun hand off"]
)
def test_cut_before_the_release_for_good(scene: AppScene, place: str, way: str) -> None:
    """It goes on at the source while the cut lasts; once it is mended nothing is left anywhere."""
    life = scene.client.life()
    heal: list[Callable[[], None]] = []
    move = halted(scene, "source", place, lambda *route: heal.append(scene.cut(way, *route)))
    assert ended(move) == move.source
    wait_until(scene.client.answered, "it answers while the cut lasts", 15.0)
    heal[0]()
    demand(scene, move.source, life)


@slow
@pytest.mark.parametrize("way", ["both ways", "to target", "to source"])
def test_cut_as_the_last_of_it_is_sent(scene: AppScene, way: str) -> None:
    """What is sent may be there already, and then it is released; which way it goes, it goes one way."""
    life = scene.client.life()
    heal: list[Callable[[], None]] = []
    move = halted(scene, "source", "dumped", lambda *route: heal.append(scene.cut(way, *route)))
    scene.rest(5.0)
    heal[0]()
    demand(scene, ended(move), life)


@slow
@pytest.mark.parametrize("way", ["both ways", "to target", "to source"])
@pytest.mark.parametrize(
    ("side", "place"),
    [
        (
            "source",
            "restored there",
        ),  # All that is needed there is there: it is released, and the grant waits.
        ("source", "after released"),
        ("target", "after owner"),
        ("source", "begun forward late frames"),
        ("source", "begun retire source"),
    ],
)
def test_cut_after_the_release_and_mended(scene: AppScene, side: str, place: str, way: str) -> None:
    life = scene.client.life()
    heal: list[Callable[[], None]] = []
    move = halted(scene, side, place, lambda *route: heal.append(scene.cut(way, *route)))
    scene.rest(6.0)
    scene.demand_one()
    heal[0]()
    assert ended(move) == move.target
    demand(scene, move.target, life)


@slow
@pytest.mark.parametrize("place", ["begun copy memory", "dumped"])
def test_the_target_loses_its_power(scene: AppScene, place: str) -> None:
    life = scene.client.life()
    move = halted(scene, "source", place, lambda _, target: scene.lab.kill(target))
    assert ended(move) == move.source
    wait_until(scene.client.answered, "it goes on at the source")
    scene.power_on(move.target)
    demand(scene, move.source, life)


@slow
def test_the_source_loses_its_power_when_it_runs_elsewhere(scene: AppScene) -> None:
    life = scene.client.life()
    move = halted(scene, "source", "done hand off", lambda source, _: scene.lab.kill(source))
    wait_until(scene.client.answered, "it runs on the target")
    scene.power_on(move.source)
    demand(scene, move.target, life)


@slow
@pytest.mark.parametrize("place", ["dumped", "restored there"])
def test_the_source_loses_its_power_before_the_release(scene: AppScene, place: str) -> None:
    """What it held in memory is gone with it; no copy of it may run elsewhere."""
    life = scene.client.life()
    move = halted(scene, "source", place, lambda source, _: scene.lab.kill(source))
    scene.rest(5.0)
    assert not scene.client.answered()
    scene.power_on(move.source)
    scene.wait_for_answer()
    scene.demand_calm()
    assert scene.owner() == move.source
    assert scene.client.life() != life


@contextlib.contextmanager
def full(scene: AppScene, host: str) -> Iterator[None]:
    """While nothing more can be written there."""
    empty = scene.fill(host)
    try:
        yield
    finally:
        empty()


@slow
def test_the_targets_disk_is_full(scene: AppScene) -> None:
    source, target = scene.route()
    life = scene.client.life()
    with full(scene, target):
        record = scene.migrate(target).end("aborted")
        demand(scene, source, life)
    assert "space" in record["failure"]["why"], record["failure"]
    scene.migrate(target).end("done")
    demand(scene, target, life)


@slow
def test_the_sources_disk_is_full(scene: AppScene) -> None:
    source, target = scene.route()
    life = scene.client.life()
    with full(scene, source):
        scene.migrate(target).end("done")
    demand(scene, target, life)


@slow
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_warden_is_killed_in_a_move(scene: AppScene, side: str) -> None:
    """It costs the application its log, and nothing else."""
    life = scene.client.life()
    move = halted(scene, "source", "restored there", hit(scene, f"{side} warden", signal.SIGKILL))
    demand(scene, ended(move), life)
