"""A QEMU dies in each stage, on each side: the guest lives on, or the error says where it ended."""

from __future__ import annotations

import socket

import pytest

from tests.lab.moves import SLOWLY, Move, wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow


def begin_and_kill(scene: Scene, at: tuple[str, str], victim: str) -> Move:
    """A migration whose `victim` loses its QEMU while the agent of that side stands at that place."""
    source, target = scene.route()
    hosts = {"source": source, "target": target}
    side, place = at
    halt = scene.halt(hosts[side], place)
    move = scene.migrate(target)
    halt.wait()
    scene.kill_qemu(hosts[victim])
    halt.go()
    return move


def demand_crashed(scene: Scene, host: str) -> None:
    """The owner says that the guest's QEMU ended, and after a start all is as ever."""

    def crashed() -> bool:
        shown = scene.shown(host) or {"state": ""}
        return shown["state"] == "crashed" and "ended unexpectedly" in shown["reason"]

    wait_until(crashed, f"the owner {host} says that the guest has crashed")
    assert scene.owner() == host
    scene.start_guest(host)
    scene.demand_calm()
    assert scene.owner() == host


def demand_second_try(scene: Scene, target: str) -> None:
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
def test_the_sources_qemu_dies_before_the_release(scene: Scene, place: str) -> None:
    """With it dies the guest; the record says so, and the target's copy never runs."""
    move = begin_and_kill(scene, ("source", place), "source")
    record = move.end("lost")
    assert f"it ended on {move.source}" in record["failure"]["why"]
    demand_crashed(scene, move.source)
    demand_second_try(scene, move.target)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("before released", marks=slow),  # The decision is made: the target's copy is whole.
        pytest.param("after released"),
        pytest.param("begun forward late frames", marks=slow),
        pytest.param("begun retire source", marks=slow),
    ],
)
def test_the_sources_qemu_dies_after_the_release(scene: Scene, place: str) -> None:
    """Nobody needs it any more."""
    lived_s = scene.client.uptime_s()
    move = begin_and_kill(scene, ("source", place), "source")
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s


@pytest.mark.parametrize(
    ("side", "place"),
    [
        pytest.param("source", "done reserve target", marks=slow),
        pytest.param("source", "begun copy memory", marks=slow),
        pytest.param("source", "begun hand off", marks=slow),
        pytest.param("source", "before released", marks=slow),
        pytest.param("source", "after released", marks=slow),
        pytest.param("target", "hears grant", marks=slow),
        pytest.param("target", "before owner", marks=slow),
        pytest.param("target", "after owner"),
    ],
)
def test_the_targets_qemu_dies_before_it_runs(scene: Scene, side: str, place: str) -> None:
    """The guest goes on at the source; after the release because the target hands it back."""
    lived_s = scene.client.uptime_s()
    move = begin_and_kill(scene, (side, place), "target")
    record = move.end("aborted")
    assert record["failure"]["consequence"] == "aborted"
    scene.demand_calm()
    assert scene.owner() == move.source
    assert scene.client.uptime_s() > lived_s
    demand_second_try(scene, move.target)


def test_the_targets_qemu_dies_while_memory_is_copied(scene: Scene) -> None:
    source, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    scene.kill_qemu(target)
    move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == source
    demand_second_try(scene, target)


@pytest.mark.parametrize(
    "place", [pytest.param("done hand off", marks=slow), pytest.param("begun retire source", marks=slow)]
)
def test_the_targets_qemu_dies_when_the_guest_is_its_own(scene: Scene, place: str) -> None:
    """Once it has run there it is the target's guest that crashes, and there it starts again."""
    move = begin_and_kill(scene, ("source", place), "target")
    move.end("done")
    assert scene.shown(move.source) is None
    demand_crashed(scene, move.target)


@slow
def test_the_guest_shuts_itself_down_while_it_is_copied(scene: Scene) -> None:
    """What the guest does by itself is no fault: it has stopped, and nobody starts it again unasked."""
    source, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    with socket.socket(socket.AF_UNIX) as console:
        console.connect(str(scene.folder(source) / "guests" / GUEST / "console.sock"))
        console.sendall(b"\npoweroff -f\n")
        record = move.end("lost")
    assert f"it ended on {source}" in record["failure"]["why"]
    wait_until(lambda: (scene.shown(source) or {}).get("state") == "stopped", "stopped on the source")
    wait_until(lambda: scene.shown(target) is None, "the target has nothing of it")
    assert not scene.census.alive()
    scene.start_guest(source)
    demand_second_try(scene, target)
