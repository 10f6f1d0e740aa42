"""An old journal is put in the place of the newest while its host goes on: nothing of it runs, or is given away."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.moves import wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = [pytest.mark.lab, pytest.mark.slow]
COPY = """
import sqlite3
one, other = sqlite3.connect("{one}"), sqlite3.connect("{other}")
one.backup(other)
other.close()
"""
JOURNAL, OLD, NEWEST = "/var/lib/segue/journal.db", "/root/old.db", "/root/newest.db"


def copy(scene: Scene, host: str, one: str, other: str) -> None:
    scene.run(host, "sh", "-c", f"rm -f {other} {other}-wal {other}-shm")
    scene.run(host, "python3", "-c", COPY.format(one=one, other=other))


def put_back(scene: Scene, host: str, journal: str) -> None:
    """The host and its guests go on meanwhile."""
    scene.run(host, "sv", "-w", "20", "down", "segue-agent")
    copy(scene, host, journal, JOURNAL)
    scene.run(host, "sv", "up", "segue-agent")


@pytest.fixture
def restarting(scene: Scene) -> Iterator[Scene]:
    """Its guest is one that is started again when its QEMU ends."""
    owner = scene.owner()
    policy = {"qemu": "restart", "panic": "leave", "hang": "leave"}
    scene.call(owner, "PUT", f"/guests/{GUEST}/on-crash", policy)
    yield scene
    scene.call(scene.owner(), "PUT", f"/guests/{GUEST}/on-crash", {**policy, "qemu": "leave"})


def test_a_guest_that_left_since_is_not_started_again(restarting: Scene) -> None:
    scene = restarting
    source, target = scene.route()
    copy(scene, source, JOURNAL, OLD)
    lived_s = scene.client.uptime_s()
    scene.migrate(target).end("done")
    known = {incident["id"] for incident in scene.call(source, "GET", "/incidents")}
    put_back(scene, source, OLD)
    scene.wait_for_agent(source)
    wait_until(lambda: scene.shown(source) is None, f"{source} drops what lives elsewhere")
    scene.demand_calm()
    assert scene.owner() == target
    assert scene.client.uptime_s() > lived_s
    for incident in scene.call(source, "GET", "/incidents"):
        if incident["id"] not in known:
            assert not incident["tried_s"], "it asks the other hosts first, and hears of the guest"
            assert incident["ended_s"], incident
    scene.restart(source)
    scene.migrate(source).end("done")
    scene.demand_calm()


def test_in_the_middle_of_a_move_the_agent_does_not_start(scene: Scene) -> None:
    source, target = scene.route()
    halt = scene.halt(source, "begun hand off")
    move = scene.migrate(target)
    halt.wait()
    copy(scene, source, JOURNAL, OLD)
    halt.go()
    move.end("done")
    scene.demand_calm()
    copy(scene, source, JOURNAL, NEWEST)
    put_back(scene, source, OLD)
    said = f"are in the middle of a move: {GUEST}"
    wait_until(lambda: any(said in text for _, text in scene.logs()), f"{source} says why it does not start")
    assert (scene.shown(target) or {})["phase"] == "owner"
    scene.demand_one()
    put_back(scene, source, NEWEST)
    scene.wait_for_agent(source)
    scene.demand_calm()
    assert scene.owner() == target
