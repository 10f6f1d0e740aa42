"""The disk of a guest in the cells that have one: a qcow2 image that holds something, on one host alone."""

from __future__ import annotations

from typing import Final

from bench.cells import DISK_BYTES, DISK_HELD_BYTES
from segue.lab.api import Lab

FOLDER: Final = "/var/lib/segue/bench"
PATTERN: Final = f"write -P 7 0 {DISK_HELD_BYTES}"


def make(lab: Lab, host: str, path: str) -> None:
    """An empty one in FOLDER, as a peer expects it on its target."""
    lab.exec(host, ["mkdir", "-p", FOLDER], check=True)
    lab.exec(host, ["qemu-img", "create", "-q", "-f", "qcow2", path, str(DISK_BYTES)], check=True)


def fill(lab: Lab, host: str, path: str) -> None:
    """What it holds before the guest starts for the first time."""
    lab.exec(host, ["qemu-io", "-f", "qcow2", "-c", PATTERN, path], check=True)


def remove(lab: Lab, host: str, path: str) -> None:
    """The file of a guest that is gone from there."""
    lab.exec(host, ["rm", "-f", path], check=True)
