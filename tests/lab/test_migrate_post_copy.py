"""A guest that runs before its memory is there, under faults: what it wrote is right, or it is declared lost."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.lab.moves import Move, wait_until
from tests.lab.scene import Scene
from tests.lab.test_migrate_faults_qemu import begin_and_kill

pytestmark = pytest.mark.lab
slow = pytest.mark.slow

CAP_BYTES_PER_S = 3 << 20
"""The background copy then takes long enough for a fault to come into it."""
BROKEN = "path lost, waiting to go on"


def begin(scene: Scene, cap: int = CAP_BYTES_PER_S) -> Move:
    """One that goes over to post-copy at once."""
    _, target = scene.route()
    return scene.migrate(target, post_copy_after=0, bandwidth_bytes_per_s=cap)


def serving(scene: Scene) -> Move:
    """One that is in the midst of it: the guest runs on the target, and lacks memory."""
    move = begin(scene)
    move.until("pages are served", _serves)
    wait_until(lambda: scene.shown(move.target), "the target has it")
    return move


def _serves(record: dict[str, Any]) -> bool:
    return bool(record["step"] == "serve pages" and record["progress"]["remaining_bytes"] > 0)


def demand_moved(scene: Scene, move: Move, lived_s: float) -> dict[str, Any]:
    record = move.end("done", limit_s=120.0)
    scene.demand_calm()
    assert scene.owner() == move.target
    assert scene.client.uptime_s() > lived_s
    return record


def demand_lost(scene: Scene, move: Move) -> None:
    """Ended on both sides, said on both sides, and started again only when somebody says so."""
    record = move.end("lost")
    assert record["failure"]["consequence"] == "lost"
    wait_until(lambda: (scene.shown(move.target) or {}).get("state") == "crashed", "crashed on the target")
    wait_until(lambda: not scene.census.alive(), "nothing of it runs")
    scene.start_guest(move.target)
    scene.demand_calm()
    assert scene.owner() == move.target


def test_the_guest_runs_before_its_memory_is_there(scene: Scene) -> None:
    lived_s = scene.client.uptime_s()
    outcome = demand_moved(scene, begin(scene, cap=16 << 20), lived_s)["outcome"]
    assert outcome["pages_asked"] > 0
    assert outcome["serving_s"] > 0


@slow
def test_the_path_breaks_and_is_mended(scene: Scene) -> None:
    """Everything stands, says so, and goes on by itself."""
    lived_s = scene.client.uptime_s()
    move = serving(scene)
    scene.lab.cut(f"{move.source}--{move.target}")
    move.until_step(BROKEN)
    wait_until(
        lambda: (scene.shown(move.target) or {})["state"] == "paused", "the target says that it stands"
    )
    assert "path" in (scene.shown(move.target) or {})["reason"]
    scene.lab.mend(f"{move.source}--{move.target}")
    assert demand_moved(scene, move, lived_s)["outcome"]["path_breaks"] >= 1


@pytest.mark.parametrize(
    ("side", "place"),
    [
        pytest.param("source", "before released"),
        pytest.param("source", "after released", marks=slow),
        pytest.param("target", "hears grant", marks=slow),
        pytest.param("target", "after owner", marks=slow),
    ],
)
def test_the_target_dies_before_it_ran_and_the_source_is_revived(
    scene: Scene, side: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU knows no way back from here; the guest goes on all the same, and can be moved again."""
    lived_s = scene.client.uptime_s()
    plain = scene.migrate
    wish = {"post_copy_after": 0, "bandwidth_bytes_per_s": CAP_BYTES_PER_S}
    monkeypatch.setattr(scene, "migrate", lambda target: plain(target, **wish))
    move = begin_and_kill(scene, (side, place), "target")
    move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == move.source
    assert scene.client.uptime_s() > lived_s
    plain(move.target).end("done")
    scene.demand_calm()
    assert scene.owner() == move.target


@slow
def test_the_source_dies_and_the_guest_is_lost(scene: Scene) -> None:
    move = serving(scene)
    scene.kill_qemu(move.source)
    demand_lost(scene, move)
    causes = [one["cause"] for one in scene.call(move.target, "GET", "/incidents")]
    assert causes[:1] == ["memory_lost"]


@slow
def test_the_target_dies_and_the_guest_is_lost(scene: Scene) -> None:
    """The source still has old memory; it is not brought back from that."""
    move = serving(scene)
    scene.kill_qemu(move.target)
    demand_lost(scene, move)


@slow
@pytest.mark.parametrize("victims", ["source", "target", "both"])
def test_agents_are_killed_while_pages_are_served(scene: Scene, victims: str) -> None:
    lived_s = scene.client.uptime_s()
    move = serving(scene)
    for host in {"source": [move.source], "target": [move.target], "both": [move.source, move.target]}[
        victims
    ]:
        os.kill(scene.agent_pid(host), 9)
    demand_moved(scene, move, lived_s)


@slow
def test_the_targets_agent_is_killed_while_the_path_is_broken(scene: Scene) -> None:
    """Its QEMU may answer nobody then."""
    lived_s = scene.client.uptime_s()
    move = serving(scene)
    scene.lab.cut(f"{move.source}--{move.target}")
    move.until_step(BROKEN)
    os.kill(scene.agent_pid(move.target), 9)
    scene.wait_for_agent(move.target)
    assert (scene.shown(move.target) or {})["phase"] == "owner"
    scene.lab.mend(f"{move.source}--{move.target}")
    demand_moved(scene, move, lived_s)


@slow
def test_the_path_breaks_again_and_again(scene: Scene) -> None:
    lived_s = scene.client.uptime_s()
    move = serving(scene)
    for _ in range(3):
        scene.lab.cut(f"{move.source}--{move.target}")
        move.until_step(BROKEN)
        scene.lab.mend(f"{move.source}--{move.target}")
        move.until("it goes on", lambda record: record["step"] != BROKEN)
    assert demand_moved(scene, move, lived_s)["outcome"]["path_breaks"] >= 3


@slow
def test_the_source_loses_power_and_the_guest_is_lost(scene: Scene) -> None:
    """While it is off nobody knows whether its memory comes back; when it is back, nobody doubts."""
    move = serving(scene)
    scene.lab.kill(move.source)
    wait_until(
        lambda: (scene.shown(move.target) or {})["state"] == "paused", "the target says that it stands"
    )
    scene.power_on(move.source)
    demand_lost(scene, move)
