"""Gives each machine of a lab a cgroup where the kernel lets us; without it only containers do not work."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from segue.lab.places import Places


def ensure(places: Places, name: str) -> str:
    """The machine's cgroup folder, or an empty text where there is no writable cgroup2."""
    top = _top(places)
    if top is None:
        return ""
    own = top / name
    try:
        (own / "init").mkdir(parents=True, exist_ok=True)
    except OSError:
        # Read-only inside many containers: nothing can be done about it and nothing but containers needs it.
        return ""
    _hand_down(top)
    return str(own)


def remove(places: Places, name: str = "") -> None:
    """Take away the cgroup of one machine, or of the whole lab; its processes have ended before."""
    top = _top(places)
    if top is None:
        return
    for folder, _, _ in os.walk(top / name if name else top, topdown=False):
        # Busy means that a process is in there that is not ours to end.
        with contextlib.suppress(OSError):
            os.rmdir(folder)


def _top(places: Places) -> Path | None:
    mounted = _mounted()
    if mounted is None:
        return None
    tag = hashlib.sha256(str(places.top).encode()).hexdigest()[:8]
    return mounted / f"segue-lab-{places.name}-{tag}"


def _mounted() -> Path | None:
    """Where cgroup2 is mounted; beside version 1 it is often not at the usual place."""
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            return Path(left.split()[4])
    return None


def _hand_down(folder: Path) -> None:
    """Let the groups below use every controller that this one has."""
    try:
        names = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return
    for name in names:
        with contextlib.suppress(OSError):
            (folder / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")
