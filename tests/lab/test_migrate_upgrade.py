"""A host gets a newer QEMU while its guest runs in the older one, and then the guest gets it, under traffic."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytest

from segue.lab.variants import Variants
from tests.lab.moves import wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(900)]
TIMES: Final = 10


@pytest.fixture(scope="module")
def older(labs_folder: Path) -> Iterator[Scene]:
    """The guest begins on host1, which has the newest QEMU; the other two have Debian 13's."""
    made = Scene(f"u{os.getpid()}", Variants(qemus={"host1": "newest"}))
    made.up()
    yield made
    made.down()


def seen_by_client(scene: Scene, *words: str) -> dict[str, Any]:
    """The record of it, with what a client saw that sends 1,000 packets per second."""
    probes = ("--probe", "udp:7000", "--max-blackout", "5s", "-o", "json")
    record: dict[str, Any] = json.loads(scene.run("client1", "segue", *words, *probes))
    (seen,) = record["observations"]
    assert (record["stage"], seen["lost"], seen["duplicated"]) == ("done", 0, 0)
    return record


def qemu(scene: Scene, host: str) -> tuple[str, bool]:
    """The version in which our guest runs there, and whether the host has another one."""
    shown = scene.shown(host)
    assert shown is not None
    return shown["qemu"], shown["qemu_outdated"]


def test_a_running_guest_gets_the_newer_version(older: Scene) -> None:
    scene = older
    scene.begin()
    new, old = (scene.call(host, "GET", "/host")["qemu_version"] for host in ("host1", "host2"))
    assert int(new.split(".")[0]) > int(old.split(".")[0]) == 10
    seen_by_client(scene, "migrate", GUEST, "--to", "host2")
    assert qemu(scene, "host2") == (old, False)
    lived_s = scene.client.uptime_s()
    assert "qemu-system-x86" in scene.lab.upgrade("host2", "newest")
    assert scene.lab.upgrade("host2", "newest") == []
    assert scene.run("host2", "dpkg", "--audit") == ""
    wait_until(lambda: scene.call("host2", "GET", "/host")["qemu_version"] == new, "the agent has seen it")
    assert scene.call("host2", "GET", "/host")["guests_outdated"] == [GUEST]
    assert qemu(scene, "host2") == (old, True)
    record = seen_by_client(scene, "vm", "update", GUEST)
    assert (record["source"], record["target"]) == ("host2", "host2")
    assert qemu(scene, "host2") == (new, False)
    assert scene.call("host2", "GET", "/host")["guests_outdated"] == []
    scene.demand_calm()
    assert scene.client.uptime_s() > lived_s
    seen_by_client(scene, "migrate", GUEST, "--to", "host1")
    seen_by_client(scene, "migrate", GUEST, "--to", "host2")
    scene.demand_calm()


def test_an_older_version_is_refused(older: Scene) -> None:
    """Nothing is begun, and the guest goes on in the one that it has."""
    scene = older
    host = scene.owner()
    runs_in, _ = qemu(scene, host)
    scene.lab.upgrade(host, "debian")
    wait_until(lambda: qemu(scene, host) == (runs_in, True), "it is outdated")
    refused = scene.segue("vm", "update", GUEST)
    assert refused.returncode == 4
    assert "is older than" in refused.stderr
    scene.demand_calm()
    scene.lab.upgrade(host, "newest")


def test_an_update_beside_a_move(older: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Both under the same traffic, in turn; the figures are told, and nothing is lost."""
    scene = older
    updates, moves = [], []
    for _ in range(TIMES):
        updates.append(seen_by_client(scene, "vm", "update", GUEST, "--again")["outcome"])
        _, target = scene.route()
        moves.append(seen_by_client(scene, "migrate", GUEST, "--to", target)["outcome"])
    scene.demand_calm()
    with capsys.disabled():
        for what, outcomes in (("update", updates), ("move", moves)):
            for key in ("blackout_s", "outage_s", "total_s"):
                seen = sorted(outcome[key] * 1e3 for outcome in outcomes)
                print(
                    f"\n{what} {key}: median {median(seen):.1f} ms, {seen[0]:.1f} to {seen[-1]:.1f}", end=""
                )
