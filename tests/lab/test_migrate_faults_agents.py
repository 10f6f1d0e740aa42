"""An agent is killed at every place of a migration and started again: the guest runs once, and where it should."""

from __future__ import annotations

import os

import pytest

from tests.lab import calm
from tests.lab.moves import SLOWLY
from tests.lab.scene import Scene

pytestmark = pytest.mark.lab
slow = pytest.mark.slow

# Before the blackout the restarted agent goes on; in it, it turns back; after the release there is only forward.
AT_THE_SOURCE = [
    pytest.param("before offered", "done", marks=slow),
    pytest.param("after offered", "done", marks=slow),
    pytest.param("begun reserve target", "done", marks=slow),
    pytest.param("done reserve target", "done", marks=slow),
    pytest.param("begun join networks", "done", marks=slow),
    pytest.param("done join networks", "done", marks=slow),
    pytest.param("begun copy memory", "done", marks=slow),
    pytest.param("done copy memory", "done", marks=slow),
    pytest.param("begun hand off", "aborted", marks=slow),
    pytest.param("before released", "aborted", marks=slow),
    pytest.param("after released", "done"),
    pytest.param("done hand off", "done", marks=slow),
    pytest.param("begun forward late frames", "done", marks=slow),
    pytest.param("done forward late frames", "done", marks=slow),
    pytest.param("begun retire source", "done", marks=slow),
    pytest.param("before absent", "done", marks=slow),
    pytest.param("after absent", "done", marks=slow),
    pytest.param("done retire source", "done", marks=slow),
]
AT_THE_TARGET = [
    pytest.param("before incoming", marks=slow),
    pytest.param("after incoming", marks=slow),
    pytest.param("hears grant", marks=slow),
    pytest.param("before owner", marks=slow),
    pytest.param("after owner"),
]
IN_AN_UNDO = [
    pytest.param("undoing"),
    pytest.param("undone copy memory", marks=slow),
    pytest.param("undone join networks", marks=slow),
    pytest.param("before owner", marks=slow),
    pytest.param("after owner", marks=slow),
    pytest.param("undone reserve target", marks=slow),
]


@pytest.mark.parametrize(("place", "end"), AT_THE_SOURCE)
def test_the_sources_agent_is_killed(scene: Scene, place: str, end: str) -> None:
    source, target = scene.route()
    lived_s = scene.client.uptime_s()
    scene.arm(source, place)
    scene.migrate(target).end(end)
    scene.demand_calm()
    if end == "aborted":
        assert scene.owner() == source
        scene.migrate(target).end("done")
        scene.demand_calm()
    assert scene.owner() == target
    assert scene.client.uptime_s() > lived_s


@pytest.mark.parametrize("place", AT_THE_TARGET)
def test_the_targets_agent_is_killed(scene: Scene, place: str) -> None:
    _, target = scene.route()
    lived_s = scene.client.uptime_s()
    scene.arm(target, place)
    scene.migrate(target).end("done")
    scene.demand_calm()
    assert scene.owner() == target
    assert scene.client.uptime_s() > lived_s


def test_what_is_handed_over_goes_first_until_it_runs(scene: Scene) -> None:
    source, target = scene.route()
    halt = scene.halt(target, "hears grant")
    move = scene.migrate(target)
    halt.wait()
    qemus = [calm.processes(scene, host, b"qemu-system") for host in (source, target)]
    go_first = [[calm.goes_first(pid) for pid in pids] for pids in qemus]
    halt.go()
    move.end("done")
    assert go_first == [[True], [True]]
    scene.demand_calm()


@pytest.mark.parametrize("side", [pytest.param("source", marks=slow), pytest.param("target", marks=slow)])
def test_an_agent_is_killed_while_memory_is_copied(scene: Scene, side: str) -> None:
    source, target = scene.route()
    move = scene.migrate(target, bandwidth_bytes_per_s=12 << 20)
    move.until("memory on its way", lambda record: record["progress"]["transferred_bytes"] > 0)
    os.kill(scene.agent_pid(source if side == "source" else target), 9)
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == target


@pytest.mark.parametrize("place", IN_AN_UNDO)
def test_the_sources_agent_is_killed_while_it_undoes(scene: Scene, place: str) -> None:
    source, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    scene.arm(source, place)
    move.cancel()
    move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == source
    scene.migrate(target).end("done")
    scene.demand_calm()


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("hears withdraw", marks=slow),
        pytest.param("before absent", marks=slow),
        pytest.param("after absent", marks=slow),
    ],
)
def test_the_targets_agent_is_killed_while_the_source_undoes(scene: Scene, place: str) -> None:
    source, target = scene.route()
    move = scene.migrate(target, **SLOWLY)
    move.until_step("copy memory")
    scene.arm(target, place)
    move.cancel()
    move.end("aborted")
    scene.demand_calm()
    assert scene.owner() == source
    scene.migrate(target).end("done")
    scene.demand_calm()


@slow
@pytest.mark.parametrize("side", ["source", "target"])
def test_an_agent_is_killed_as_it_hears_the_question(scene: Scene, side: str) -> None:
    """A target asks every second what became of its copy; the source's answer may never come."""
    source, target = scene.route()
    move = scene.migrate(target, bandwidth_bytes_per_s=12 << 20)
    move.until_step("copy memory")
    scene.arm(source, "hears ask")
    move.end("done")
    scene.demand_calm()
    assert scene.owner() == target
