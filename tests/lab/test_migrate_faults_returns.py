"""A fault on the way back: the guest stands still, its target is lost, and an agent dies while it is taken back."""

from __future__ import annotations

import pytest

from tests.lab.moves import Move
from tests.lab.scene import Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow


def lose_the_copy(scene: Scene, at: tuple[str, str], then: tuple[str, str]) -> Move:
    """The target's QEMU dies at one place, and on the way back an agent is killed at another."""
    source, target = scene.route()
    hosts = {"source": source, "target": target}
    halt = scene.halt(hosts[at[0]], at[1])
    move = scene.migrate(target)
    halt.wait()
    scene.arm(hosts[then[0]], then[1])
    scene.kill_qemu(target)
    halt.go()
    return move


def demand_back(scene: Scene, move: Move, lived_s: float) -> None:
    """The guest goes on at the source with all its memory, and a second try works."""
    move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == move.source
    assert scene.client.uptime_s() > lived_s
    scene.migrate(move.target).end("done")
    scene.demand_calm()
    assert scene.owner() == move.target


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("undoing", marks=slow),
        pytest.param("before owner", marks=slow),
        pytest.param("after owner", marks=slow),
        pytest.param("undone hand off", marks=slow),
        pytest.param("undone reserve target", marks=slow),
    ],
)
def test_the_sources_agent_is_killed_while_it_takes_the_blackout_back(scene: Scene, place: str) -> None:
    lived_s = scene.client.uptime_s()
    move = lose_the_copy(scene, ("source", "begun hand off"), ("source", place))
    demand_back(scene, move, lived_s)


@pytest.mark.parametrize(
    ("side", "place"),
    [
        pytest.param("target", "before released", marks=slow),
        pytest.param("target", "after released", marks=slow),
        pytest.param("target", "before absent", marks=slow),
        pytest.param("target", "after absent", marks=slow),
        pytest.param("source", "hears grant", marks=slow),
        pytest.param("source", "before owner", marks=slow),
        pytest.param("source", "after owner"),
        pytest.param("source", "undoing", marks=slow),
    ],
)
def test_an_agent_is_killed_while_the_guest_is_handed_back(scene: Scene, side: str, place: str) -> None:
    lived_s = scene.client.uptime_s()
    move = lose_the_copy(scene, ("target", "hears grant"), (side, place))
    demand_back(scene, move, lived_s)
