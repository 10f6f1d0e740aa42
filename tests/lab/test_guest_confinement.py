"""What a guest that has broken out of its QEMU could reach, tried with its QEMU's own identity."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapAmb")


def status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_qemu_runs_as_nobody_and_can_gain_nothing(scene: Scene) -> None:
    (qemu,) = scene.census.on(scene.owner())
    shown = scene.shown(scene.owner())
    assert shown is not None
    uid = str(shown["spec"]["uid"])
    status = status_of(qemu.pid)
    assert int(uid) > 1 << 20
    assert set(status["Uid"].split() + status["Gid"].split()) == {uid}
    assert {int(status[name], 16) for name in CAPABILITIES} == {0}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    limits = Path(f"/proc/{qemu.pid}/limits").read_text().splitlines()
    (core,) = [line.split() for line in limits if line.startswith("Max core file size")]
    assert core[4:6] == ["0", "0"]


@contextmanager
def other_guest(scene: Scene, host: str) -> Iterator[dict[str, Any]]:
    """A second guest of the host, with a disk of its own."""
    assert host == "host1"
    scene.make_guest("other", "10.77.100.2/16")
    try:
        yield next(guest["spec"] for guest in scene.call(host, "GET", "/guests") if guest["name"] == "other")
    finally:
        scene.call(host, "DELETE", "/guests/other")


def can(scene: Scene, host: str, uid: int, command: str) -> bool:
    """Whether a command succeeds as this user, with the groups that QEMU has."""
    groups = scene.run(host, "id", "-G", "segue-qemu").strip().replace(" ", ",")
    who = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={groups}", "--"]
    done = scene.lab.exec(host, [*who, "sh", "-c", command])
    assert done.returncode == 0 or "denied" in done.stderr or "not permitted" in done.stderr, done.stderr
    return done.returncode == 0


def connect(path: str) -> str:
    return f"python3 -c 'import socket; socket.socket(socket.AF_UNIX).connect(\"{path}\")'"


def test_one_guest_reaches_nothing_of_another_or_of_the_host(scene: Scene) -> None:
    if scene.owner() != "host1":
        scene.migrate("host1").end("done")
    shown = scene.shown("host1")
    assert shown is not None
    own, disk = shown["spec"]["uid"], shlex.quote(shown["spec"]["disks"][0]["path"])
    (qemu,) = scene.run("host1", "pgrep", "-f", f"guest={GUEST},").split()
    folder = f"/run/segue/guests/{GUEST}"
    with other_guest(scene, "host1") as other:
        mine = [f"head -c 1 {disk}", f": >>{disk}", connect(f"{folder}/qmp.sock"), f"kill -0 {qemu}"]
        mine += [f"head -c 1 {folder}/console.log", f"ls {folder}"]
        for command in mine:
            assert can(scene, "host1", own, command), f"the guest's own: {command}"
            assert not can(scene, "host1", other["uid"], command), command
        hosts = ["head -c 1 /etc/segue/pki/host.key", connect("/run/segue/agent.sock")]
        hosts += ["head -c 1 /var/lib/segue/journal.db", f"head -c 1 {folder}/qemu.log"]
        hosts += [f"cat /proc/{qemu}/environ", "touch /srv/segue/shared/x"]
        for command in hosts[:3]:
            assert not can(scene, "host1", own, command), command
        for command in hosts[3:]:
            assert not can(scene, "host1", other["uid"], command), command
    scene.demand_calm()
