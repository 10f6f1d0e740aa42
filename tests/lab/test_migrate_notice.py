"""A program in the guest registers, is told before and after its guest moves, and is waited for until it is ready."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.inside import Shell
from tests.lab.moves import Move, wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab

URL = "http://169.254.169.254/v1"
ASK = "wget -q -T 90 -O- --header 'Metadata-Flavor: segue'"
PROGRAM = f"""
etag=; state=
while :; do
    answer=$({ASK} "{URL}/maintenance-event?wait_for_change=true&last_etag=$etag")
    [ -n "$answer" ] || continue
    etag=${{answer##*etag\\":\\"}}; etag=${{etag%%\\"*}}
    state=${{answer#*state\\":\\"}}; state=${{state%%\\"*}}
    echo $state >>/tmp/states
    [ $state = pending ] && [ -e /tmp/willing ] && {ASK} --post-data '' {URL}/subscriptions/db/ready
done
"""


class Guest:
    """The guest's own view, wherever it runs."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def run(self, command: str) -> str:
        host = self._scene.owner()
        shell = Shell(self._scene.folder(host) / "guests" / GUEST / "console.sock")
        try:
            return shell.run(command)
        finally:
            shell.close()

    def ask(self, path: str, more: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.run(f"{ASK} {more} '{URL}/{path}'"))
        return answer

    def states(self) -> list[str]:
        return self.run("cat /tmp/states").split()


@pytest.fixture
def guest(scene: Scene) -> Iterator[Guest]:
    made = Guest(scene)
    made.run(
        "route add -host 169.254.169.254 dev eth0 2>/dev/null; rm -f /tmp/states /tmp/willing; touch /tmp/willing"
    )
    program = PROGRAM.replace("'", "'\\''")
    made.ask("subscriptions/db?lead_s=120", "--post-data ''")
    made.run(f"sh -c '{program}' >/dev/null 2>&1 & echo $! >/tmp/program")
    wait_until(made.states, "the program has asked once")
    yield made
    made.run("kill $(cat /tmp/program); killall wget")
    made.run(f"rm -f /tmp/states; {ASK} --post-data '' '{URL}/subscriptions/db?lead_s=0' >/dev/null")


def test_a_program_is_told_answers_and_learns_that_it_is_over(scene: Scene, guest: Guest) -> None:
    _, target = scene.route()
    before = len(guest.states())
    record = scene.migrate(target).end("done")
    scene.demand_calm()
    assert scene.owner() == target
    wait_until(lambda: guest.states()[before:] == ["pending", "ended"], f"both are told: {guest.states()}")
    found = guest.ask("maintenance-event")
    assert (found["state"], found["migration"]) == ("ended", record["id"])
    assert found["subscriptions"] == {"db": 120.0}, "the registration has moved with the guest"


@pytest.mark.slow
def test_an_agent_that_is_restarted_meanwhile_still_waits(scene: Scene, guest: Guest) -> None:
    source, target = scene.route()
    guest.run("rm /tmp/willing")
    move = scene.migrate(target)
    move.until("the wait", lambda record: "ready (db)" in record["waiting"])
    begins_at = guest.ask("maintenance-event")["begins_at"]
    scene.restart(source)
    move.until("the wait", lambda record: "ready (db)" in record["waiting"])
    assert guest.ask("maintenance-event")["begins_at"] == begins_at
    guest.ask("subscriptions/db/ready", "--post-data ''")
    move.end("done")
    scene.demand_calm()


def test_a_cancelled_migration_is_told_too(scene: Scene, guest: Guest) -> None:
    _, target = scene.route()
    guest.run("rm /tmp/willing")
    move = scene.migrate(target)
    move.until("the wait", lambda record: "ready (db)" in record["waiting"])
    move.cancel()
    move.end("aborted")
    wait_until(lambda: guest.states()[-2:] == ["pending", "cancelled"], "it is told")
    scene.demand_calm()


@pytest.mark.slow
def test_time_runs_out(scene: Scene, guest: Guest) -> None:
    _, target = scene.route()
    guest.run("rm /tmp/willing")
    move: Move = scene.migrate(target, notice_s=2.0)
    move.end("done")
    scene.demand_calm()


def test_only_who_means_it_is_answered(scene: Scene, guest: Guest) -> None:
    """A page or a proxy that is made to ask has no header of ours."""
    refused = guest.run(f"wget -q -O- '{URL}/maintenance-event' 2>&1")
    assert "403" in refused
    refused = guest.run(f"{ASK} --header 'X-Forwarded-For: 1.2.3.4' '{URL}/maintenance-event' 2>&1")
    assert "403" in refused
    refused = guest.run(f"{ASK} --post-data '' '{URL}/subscriptions/nobody/ready' 2>&1")
    assert "409" in refused
