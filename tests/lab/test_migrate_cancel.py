"""Cancel in each stage: until the handoff the guest goes on at the source, and after it the answer is no."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

import pytest

from segue.errors import Kind, Refused
from tests.lab.moves import SLOWLY, Move
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow


class Local(http.client.HTTPConnection):
    """A call in two halves: what was asked lies in the agent's socket before it is answered."""

    def __init__(self, path: str) -> None:
        super().__init__("agent")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30.0)
        self.sock.connect(self._path)


def cancel_at(scene: Scene, place: str, **limits: Any) -> tuple[Move, int, dict[str, Any]]:
    """A migration, and the answer to a cancel that reached the source while it stood at that place."""
    source, target = scene.route()
    halt = scene.halt(source, place)
    move = scene.migrate(target, **limits)
    halt.wait()
    agent = Local(str(scene.lab.agent_socket(source)))
    agent.request("POST", f"/v1/migrations/{move.number}/cancel")
    halt.go()
    answer = agent.getresponse()
    return move, answer.status, json.loads(answer.read())


def demand_undone(scene: Scene, move: Move, lived_s: float) -> None:
    failure = move.end("aborted")["failure"]
    assert failure["what"] == "the migration was cancelled"
    assert failure["consequence"] == "aborted"
    scene.demand_calm()
    assert scene.owner() == move.source
    assert scene.client.uptime_s() > lived_s
    scene.migrate(move.target).end("done")
    scene.demand_calm()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("begun reserve target"),
        pytest.param("done reserve target", marks=slow),
        pytest.param("begun join networks", marks=slow),
        pytest.param("done join networks", marks=slow),
        pytest.param("begun copy memory", marks=slow),
    ],
)
def test_cancelled_before_the_copy_is_complete(scene: Scene, place: str) -> None:
    lived_s = scene.client.uptime_s()
    move, status, _ = cancel_at(scene, place, **SLOWLY)
    assert status == http.HTTPStatus.ACCEPTED
    demand_undone(scene, move, lived_s)


def test_cancelled_by_the_cli_while_memory_is_copied(scene: Scene) -> None:
    _, target = scene.route()
    lived_s = scene.client.uptime_s()
    move = scene.migrate(target, **SLOWLY)
    move.until("memory on its way", lambda record: record["progress"]["transferred_bytes"] > 0)
    done = scene.segue("migration", "cancel", move.number[:8])
    assert done.returncode == 0, done.stderr
    assert "the migration was cancelled" in done.stderr
    demand_undone(scene, move, lived_s)


@slow
def test_what_was_cancelled_may_begin_again_at_once(scene: Scene) -> None:
    """When the migration has ended nothing is left of it on the target, not even for a moment."""
    _, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    move.cancel()
    move.end("aborted")
    scene.migrate(target).end("done")
    scene.demand_calm()


@slow
def test_cancelled_again_while_it_is_undone(scene: Scene) -> None:
    """The second word must not cut the undo off."""
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    halt = scene.halt(source, "undoing")
    first, second = (Local(str(scene.lab.agent_socket(source))) for _ in range(2))
    first.request("POST", f"/v1/migrations/{move.number}/cancel")
    halt.wait()
    second.request("POST", f"/v1/migrations/{move.number}/cancel")
    halt.go()
    assert first.getresponse().status == http.HTTPStatus.ACCEPTED
    assert second.getresponse().status in {http.HTTPStatus.ACCEPTED, http.HTTPStatus.CONFLICT}
    demand_undone(scene, move, lived_s)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("begun hand off", marks=slow),
        pytest.param("before released", marks=slow),
        pytest.param("after released"),
        pytest.param("begun forward late frames", marks=slow),
        pytest.param("begun retire source", marks=slow),
    ],
)
def test_too_late_to_be_cancelled(scene: Scene, place: str) -> None:
    """The answer says so, and the migration goes on to its end."""
    lived_s = scene.client.uptime_s()
    move, status, problem = cancel_at(scene, place)
    assert status == http.HTTPStatus.CONFLICT
    assert "only a migration before its handoff can be taken back" in problem["why"]
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s


@slow
def test_what_has_ended_is_not_cancelled(scene: Scene) -> None:
    _, target = scene.route()
    move = scene.migrate(target)
    move.end("done")
    with pytest.raises(Refused, match="it is in done"):
        move.cancel()
    with pytest.raises(Refused, match="there is no migration") as refused:
        scene.call(move.source, "POST", "/migrations/12345678/cancel")
    assert refused.value.kind is Kind.NOT_FOUND
    done = scene.segue("migration", "cancel", "nothing")
    assert done.returncode == 3
    assert GUEST not in done.stderr
    scene.demand_calm()
