"""A guest gets another QEMU on its host: its client notices nothing, and whatever dies meanwhile, one copy lives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from segue.errors import Kind, SegueError
from tests.lab.moves import LIMITS, Move, wait_until
from tests.lab.scene import GUEST, Scene
from tests.lab.test_migrate_faults_qemu import begin_and_kill
from tests.lab.test_migrate_post_copy import CAP_BYTES_PER_S

pytestmark = pytest.mark.lab
slow = pytest.mark.slow


def begin(scene: Scene) -> Move:
    """An update of our guest where it is."""
    host = scene.owner()
    wish = {"again": True, "limits": {"blackout_s": LIMITS["blackout_s"]}}
    record = scene.call(host, "POST", f"/guests/{GUEST}/update", wish)
    return Move(scene.host(host), host, record["id"])


def watched(scene: Scene, *words: str) -> dict[str, Any]:
    """The record of an update as a client sees it that sends 1,000 packets per second."""
    probes = ("--probe", "udp:7000", "--max-blackout", "5s", "-o", "json")
    record: dict[str, Any] = json.loads(scene.run("client1", "segue", "vm", "update", GUEST, *words, *probes))
    return record


def of_age(scene: Scene, host: str, *, newest: bool) -> int:
    """The younger or the older QEMU of our guest."""
    found = sorted(scene.census.on(host), key=lambda qemu: started(qemu.pid))
    assert len(found) == 2, found
    return found[-1 if newest else 0].pid


def started(pid: int) -> int:
    """In the kernel's ticks since it booted."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def test_its_client_notices_nothing(scene: Scene) -> None:
    host = scene.owner()
    lived_s, before = scene.client.uptime_s(), scene.shown(host)
    assert before is not None
    (old,) = scene.census.on(host)
    for _ in range(2):
        record = watched(scene, "--again")
        (seen,) = record["observations"]
        assert (record["stage"], record["source"], record["target"]) == ("done", host, host)
        assert (seen["lost"], seen["duplicated"]) == (0, 0)
    after = scene.shown(host)
    assert after is not None
    assert after["epoch"] == before["epoch"] + 2
    assert scene.client.uptime_s() > lived_s
    (new,) = scene.census.on(host)
    assert new.pid != old.pid
    scene.demand_calm()


def test_a_guest_in_the_installed_qemu_is_left_alone(scene: Scene) -> None:
    host = scene.owner()
    refused = scene.segue("vm", "update", GUEST)
    assert refused.returncode == 4
    assert "that is installed" in refused.stderr
    shown = scene.shown(host)
    assert shown is not None
    assert (shown["qemu"] != "", shown["qemu_outdated"]) == (True, False)


def test_all_guests_of_a_host(scene: Scene) -> None:
    host = scene.owner()
    idle = scene.segue("vm", "update", "--all-of", host)
    assert (idle.returncode, f"0 of 0 guests of {host}" in idle.stderr) == (0, True), idle
    done = scene.segue("vm", "update", "--all-of", host, "--again", "--max-blackout", "5s")
    assert (done.returncode, f"1 of 1 guests of {host}" in done.stderr) == (0, True), done
    scene.demand_calm()


@slow
def test_memory_that_cannot_be_handed_over_moves_with_the_guest(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that came back from a post-copy has memory of another kind; what it is moved to has the right one."""
    plain, lived_s = scene.migrate, scene.client.uptime_s()
    wish = {"post_copy_after": 0, "bandwidth_bytes_per_s": CAP_BYTES_PER_S}
    monkeypatch.setattr(scene, "migrate", lambda target: plain(target, **wish))
    begin_and_kill(scene, ("source", "before released"), "target").end("aborted")
    scene.demand_calm()
    host, target = scene.route()
    with pytest.raises(SegueError, match="not one that QEMU can hand over") as refused:
        begin(scene)
    assert refused.value.kind is Kind.POLICY
    record = watched(scene, "--again", "--or-migrate", target)
    (seen,) = record["observations"]
    assert (record["stage"], record["source"], record["target"]) == ("done", host, target)
    assert (seen["lost"], seen["duplicated"]) == (0, 0)
    scene.demand_calm()
    assert scene.client.uptime_s() > lived_s
    begin(scene).end("done")
    scene.demand_calm()


def test_it_moves_on_to_another_host_afterwards(scene: Scene) -> None:
    begin(scene).end("done")
    _, target = scene.route()
    scene.migrate(target).end("done")
    scene.demand_calm()
    begin(scene).end("done")
    scene.demand_calm()


@pytest.mark.parametrize(
    ("place", "end"),
    [
        pytest.param("begun reserve target", "done", marks=slow),
        pytest.param("after offered", "done", marks=slow),
        pytest.param("done reserve target", "done", marks=slow),
        pytest.param("begun join networks", "done", marks=slow),
        pytest.param("begun copy memory", "done", marks=slow),
        pytest.param("begun hand off", "aborted", marks=slow),
        pytest.param("before owner", "aborted"),
        pytest.param("after owner", "done"),
        pytest.param("done hand off", "done", marks=slow),
        pytest.param("begun forward late frames", "done", marks=slow),
        pytest.param("begun retire source", "done", marks=slow),
        pytest.param("done retire source", "done", marks=slow),
    ],
)
def test_the_agent_dies(scene: Scene, place: str, end: str) -> None:
    """The next one reads in the journal which of the two may run."""
    lived_s, host = scene.client.uptime_s(), scene.owner()
    scene.arm(host, place)
    move = begin(scene)
    move.end(end)
    scene.demand_calm()
    assert scene.client.uptime_s() > lived_s


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("first ended", marks=slow),
        pytest.param("taps renamed", marks=slow),
        pytest.param("before owner"),
    ],
)
def test_the_agent_dies_while_the_new_qemu_gets_its_names(scene: Scene, place: str) -> None:
    """Before the journal says that the first one has ended: it is looked for under both names."""
    lived_s, host = scene.client.uptime_s(), scene.owner()
    halt = scene.halt(host, "after owner")
    move = begin(scene)
    halt.wait()
    new = of_age(scene, host, newest=True)
    scene.arm(host, place)
    halt.go()
    move.end("done")
    scene.demand_calm()
    assert scene.client.uptime_s() > lived_s
    assert [qemu.pid for qemu in scene.census.on(host)] == [new]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param("done reserve target", marks=slow),
        pytest.param("begun copy memory", marks=slow),
        pytest.param("begun hand off", marks=slow),
        pytest.param("before owner", marks=slow),
        pytest.param("after owner"),
    ],
)
def test_the_new_qemu_dies_before_it_runs(scene: Scene, place: str) -> None:
    """The guest goes on in its old one."""
    lived_s, host = scene.client.uptime_s(), scene.owner()
    halt = scene.halt(host, place)
    move = begin(scene)
    halt.wait()
    old = of_age(scene, host, newest=False)
    scene.kill(of_age(scene, host, newest=True))
    halt.go()
    move.end("aborted")
    scene.demand_calm()
    assert scene.client.uptime_s() > lived_s
    assert [qemu.pid for qemu in scene.census.on(host)] == [old]
    begin(scene).end("done")
    scene.demand_calm()


@pytest.mark.parametrize(
    ("place", "end"),
    [
        pytest.param("done reserve target", "lost", marks=slow),
        pytest.param("begun hand off", "lost", marks=slow),
        pytest.param("after owner", "done"),
        pytest.param("begun retire source", "done", marks=slow),
    ],
)
def test_the_old_qemu_dies(scene: Scene, place: str, end: str) -> None:
    """Before the handoff the guest dies with it, after it nobody needs it any more."""
    lived_s, host = scene.client.uptime_s(), scene.owner()
    halt = scene.halt(host, place)
    move = begin(scene)
    halt.wait()
    scene.kill(of_age(scene, host, newest=False))
    halt.go()
    move.end(end)
    if end == "lost":
        wait_until(lambda: (scene.shown(host) or {})["state"] == "crashed", "it has crashed")
        scene.start_guest(host)
    else:
        assert scene.client.uptime_s() > lived_s
    scene.demand_calm()


@slow
def test_the_new_qemu_dies_when_the_guest_is_its_own(scene: Scene) -> None:
    """It has run there, so the old copy is worth nothing: the guest has crashed, and starts from its disk."""
    host = scene.owner()
    halt = scene.halt(host, "done hand off")
    move = begin(scene)
    halt.wait()
    scene.kill(of_age(scene, host, newest=True))
    halt.go()
    move.end("done")
    wait_until(lambda: (scene.shown(host) or {})["state"] == "crashed", "it has crashed")
    assert not scene.census.alive()
    scene.start_guest(host)
    scene.demand_calm()


def test_a_cancelled_update_leaves_it_in_its_old_qemu(scene: Scene) -> None:
    lived_s, host = scene.client.uptime_s(), scene.owner()
    (old,) = scene.census.on(host)
    halt = scene.halt(host, "begun reserve target")
    move = begin(scene)
    halt.wait()
    with ThreadPoolExecutor(1) as beside:
        asked = beside.submit(move.cancel)  # It is heard when the agent goes on, while the new QEMU starts.
        halt.go()
        asked.result()
    move.end("aborted")
    scene.demand_calm()
    assert scene.client.uptime_s() > lived_s
    assert [qemu.pid for qemu in scene.census.on(host)] == [old.pid]
