"""The proof that the census can fail: two copies that really run at once are seen, a paused one is not."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.census import Census
from tests.lab.moves import wait_until
from tests.lab.scene import Scene

pytestmark = pytest.mark.lab
IMAGES = "/srv/segue/images/micro"


@contextmanager
def copies(scene: Scene, *options: str) -> Iterator[Census]:
    """QEMU processes of one guest behind the agents' backs on host3, each with its own option."""
    number = str(uuid.uuid4())
    census = Census(scene.lab.places.top, number)
    census.start()
    argv = ["qemu-system-x86_64", "-nodefaults", "-nographic", "-accel", "tcg", "-m", "128", "-uuid", number]
    argv += ["-name", "copy,debug-threads=on", "-kernel", f"{IMAGES}/vmlinux", "-initrd", f"{IMAGES}/initrd"]
    started = [
        scene.lab.popen("host3", [*argv, *option.split()], stdin=subprocess.DEVNULL) for option in options
    ]
    try:
        wait_until(lambda: len(census.alive()) == len(options), "all copies are seen")
        yield census
    finally:
        for process in started:
            process.kill()
            process.wait()
        census.stop()


def test_two_running_copies_are_seen(scene: Scene) -> None:
    with copies(scene, "", "") as census:
        wait_until(lambda: len(census.overlaps()) == 1, "the overlap")


def test_a_paused_copy_does_not_count(scene: Scene) -> None:
    with copies(scene, "", "-S") as census:
        wait_until(lambda: any(qemu.span() for qemu in census.alive()), "one copy runs")
        first, second = census.alive()
        assert bool(first.span()) != bool(second.span())
        assert not census.overlaps()
