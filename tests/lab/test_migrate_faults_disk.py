"""Another process holds the guest's disk: QEMU refuses to run the granted copy, and the guest goes back."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from segue.errors import Refused
from tests.lab.moves import wait_until
from tests.lab.scene import GUEST, Scene

pytestmark = pytest.mark.lab
PROMPT = b"qemu-io> "


@contextmanager
def held(scene: Scene, disk: str) -> Iterator[subprocess.Popen[bytes]]:
    """The disk opened for writing on a third host, as by a backup that somebody forgot."""
    argv = ["qemu-io", "-f", "qcow2", disk]
    holder = scene.lab.popen("host3", argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        said = b""
        while not said.endswith(PROMPT):
            ready, _, _ = select.select([holder.stdout], [], [], 20.0)
            assert ready, said
            got = os.read(holder.stdout.fileno(), 100)
            assert got, said
            said += got
        yield holder
    finally:
        holder.kill()
        holder.wait()


def disk_of(scene: Scene, host: str) -> str:
    shown = scene.shown(host)
    assert shown is not None
    return str(shown["spec"]["disks"][0]["path"])


def test_the_target_may_not_run_what_it_was_granted(scene: Scene) -> None:
    """It hands the guest back. The source may not run it either until the disk is free, says so, and goes on."""
    source, target = scene.route()
    lived_s, disk = scene.client.uptime_s(), disk_of(scene, source)
    halt = scene.halt(source, "after released")
    move = scene.migrate(target)
    halt.wait()
    with held(scene, disk):
        halt.go()
        failure = move.end("aborted")["failure"]
        assert failure["consequence"] == "aborted"
        assert target in failure["why"]
        shown = scene.shown(source)
        assert shown is not None
        assert (shown["phase"], shown["state"]) == ("owner", "paused")
        assert '"write" lock' in shown["reason"]
        wait_until(lambda: scene.shown(target) is None, "the target has nothing of it")
        assert not any(qemu.span() for qemu in scene.census.on(target))
    scene.demand_calm()
    assert scene.owner() == source
    assert scene.client.uptime_s() > lived_s
    scene.migrate(target).end("done")
    scene.demand_calm()


@pytest.mark.slow
def test_a_guest_whose_disk_is_held_does_not_start(scene: Scene) -> None:
    owner = scene.owner()
    disk = disk_of(scene, owner)
    scene.call(owner, "POST", f"/guests/{GUEST}/stop", {"within_s": 0})
    with held(scene, disk), pytest.raises(Refused, match="another process using the image"):
        scene.call(owner, "POST", f"/guests/{GUEST}/start")
    assert not scene.census.alive()
    scene.start_guest(owner)
    scene.demand_calm()
