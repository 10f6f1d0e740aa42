"""A host loses its power in each stage and comes back, or not: never two copies, and the guest can always go on."""

from __future__ import annotations

import pytest

from tests.lab.moves import SLOWLY, Move, wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow


def power_lost(scene: Scene, victim: str, at: tuple[str, str], **limits: float) -> Move:
    """A migration whose `victim` loses its power while the agent of one side stands at a place."""
    source, target = scene.route()
    hosts = {"source": source, "target": target}
    side, place = at
    halt = scene.halt(hosts[side], place)
    move = scene.migrate(target, **limits)
    halt.wait()
    scene.lab.kill(hosts[victim])
    halt.go()
    return move


def demand_restart(scene: Scene, host: str) -> None:
    """The owner is `host`, where the guest lost its memory with the power; it starts from its disk."""

    def runs() -> bool:
        shown = scene.shown(host) or {"state": "", "phase": ""}
        return (shown["state"], shown["phase"]) == ("running", "owner")

    def rests() -> bool:
        """So many losses of power in so short a time that it waits: a person need not."""
        incidents = scene.call(host, "GET", "/incidents")
        last = [
            one["done"][-1]["text"]
            for one in incidents
            if one["cause"] == "power_lost" and not one["ended_s"]
        ]
        return any("of rest first" in text for text in last)

    wait_until(lambda: runs() or rests(), "it is started, or will be")
    if not runs():
        scene.start_guest(host)
    wait_until(runs, f"the guest runs on {host}, and nobody asked for it")
    wait_until(scene.client.answered, "the guest answers")
    scene.demand_calm()
    assert scene.owner() == host


def demand_moves(scene: Scene, target: str) -> None:
    scene.migrate(target).end("done")
    scene.demand_calm()
    assert scene.owner() == target


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("done reserve target", marks=slow),
        pytest.param("begun copy memory", marks=slow),
        pytest.param("begun hand off", marks=slow),
    ],
)
def test_the_target_loses_power_before_the_release(scene: Scene, place: str) -> None:
    """The guest goes on at the source while the target is still off."""
    lived_s = scene.client.uptime_s()
    move = power_lost(scene, "target", ("source", place), blackout_s=1.0)
    assert move.end("aborted")["failure"]["consequence"] == "aborted"
    wait_until(scene.client.answered, "the guest answers")
    assert scene.client.uptime_s() > lived_s
    scene.demand_one()
    scene.power_on(move.target)
    scene.demand_calm()
    assert scene.owner() == move.source
    demand_moves(scene, move.target)


@slow
def test_the_target_loses_power_before_it_takes_the_guest(scene: Scene) -> None:
    """When it is back it finds the grant but no copy, and hands the guest back: not a byte is lost."""
    lived_s = scene.client.uptime_s()
    move = power_lost(scene, "target", ("target", "hears grant"))
    move.until("doubt", lambda record: record["failure"] is not None)
    scene.power_on(move.target)
    failure = move.end("aborted")["failure"]
    assert failure["consequence"] == "aborted"
    assert move.target in failure["why"]
    scene.demand_calm()
    assert scene.owner() == move.source
    assert scene.client.uptime_s() > lived_s
    demand_moves(scene, move.target)


@pytest.mark.parametrize(
    "at",
    [
        pytest.param(("target", "after owner"), marks=slow),
        pytest.param(("source", "done hand off"), marks=slow),
        pytest.param(("source", "begun retire source"), marks=slow),
    ],
)
def test_the_target_loses_power_when_the_guest_is_its_own(scene: Scene, at: tuple[str, str]) -> None:
    move = power_lost(scene, "target", at)
    scene.power_on(move.target)
    move.end("done")
    assert scene.shown(move.source) is None
    demand_restart(scene, move.target)
    demand_moves(scene, move.source)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("done reserve target", marks=slow),
        pytest.param("begun copy memory", marks=slow),
        pytest.param("begun hand off", marks=slow),
        pytest.param("before released", marks=slow),
    ],
)
def test_the_source_loses_power_before_the_release(scene: Scene, place: str) -> None:
    """With it goes the guest. The target never runs its copy, not even a whole one."""
    move = power_lost(scene, "source", ("source", place))
    assert not any(qemu.span() for qemu in scene.census.on(move.target))
    scene.power_on(move.source)
    record = move.end("lost")
    assert f"it ended on {move.source}" in record["failure"]["why"]
    wait_until(lambda: scene.shown(move.target) is None, "the target has nothing of it")
    demand_restart(scene, move.source)
    demand_moves(scene, move.target)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("after released"),
        pytest.param("done hand off", marks=slow),
        pytest.param("begun retire source", marks=slow),
        pytest.param("before absent", marks=slow),
    ],
)
def test_the_source_loses_power_after_the_release(scene: Scene, place: str) -> None:
    """All that is needed lies in its journal: when it is back, the guest runs on the target, memory and all."""
    lived_s = scene.client.uptime_s()
    move = power_lost(scene, "source", ("source", place))
    scene.power_on(move.source)
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s


def test_the_source_is_lost_after_the_release_and_fenced(scene: Scene) -> None:
    """The operator has the target go on without it; the old source comes back and finds that it is over."""
    lived_s = scene.client.uptime_s()
    move = power_lost(scene, "source", ("source", "after released"))
    shown = scene.shown(move.target)
    assert shown is not None
    assert shown["state"] == "incoming"
    told = scene.segue("vm", "recover", GUEST, "--fenced", move.source, "--host", move.target, "--yes")
    assert told.returncode == 0, told.stderr
    scene.start_guest(move.target)
    assert scene.client.uptime_s() < lived_s
    scene.power_on(move.source)
    scene.demand_calm()
    assert scene.owner() == move.target
    demand_moves(scene, move.source)


@slow
def test_both_lose_power_between_the_release_and_the_take_over(scene: Scene) -> None:
    source, target = scene.route()
    halt = scene.halt(source, "after released")
    move = scene.migrate(target)
    halt.wait()
    scene.lab.kill(source)
    scene.lab.kill(target)
    scene.power_on(target)
    scene.power_on(source)
    move.end("lost")
    demand_restart(scene, source)
    demand_moves(scene, target)


@slow
def test_the_owner_loses_power_and_its_guest_starts_there_again(scene: Scene) -> None:
    source = scene.owner()
    scene.lab.kill(source)
    assert not scene.census.alive()
    scene.power_on(source)
    demand_restart(scene, source)


@slow
def test_the_target_loses_power_in_a_slow_copy(scene: Scene) -> None:
    source, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    scene.lab.kill(target)
    move.end("aborted")
    assert scene.client.answered(within_s=5.0)
    scene.power_on(target)
    scene.demand_calm()
    assert scene.owner() == source
    demand_moves(scene, target)
