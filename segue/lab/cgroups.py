"""Gives each machine of a lab a cgroup where the kernel lets us; without it only containers do not work."""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
from pathlib import Path
from typing import Final

from segue.lab.places import Places

EMPTY_LIMIT_S: Final = 0.5


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


def members(places: Places) -> list[int]:
    """Every process in a cgroup of the lab: the kernel's own list, in which a fork is never between two looks."""
    top = _top(places)
    found: set[int] = set()
    for folder in top.rglob("cgroup.procs") if top else ():
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in folder.read_text(encoding="ascii").split()}
    return sorted(found - {0})


def remove(places: Places, name: str = "") -> bool:
    """Take away the cgroup of one machine, or of the whole lab; false: a process has come into it."""
    top = _top(places)
    if top is None:
        return True
    whole = top / name if name else top
    for folder, _, _ in os.walk(whole, topdown=False):
        _wait_empty(Path(folder))
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not whole.exists()


def _wait_empty(folder: Path) -> None:
    """A process that has just ended may be counted a moment longer; the kernel tells when it is not."""
    try:
        events = os.open(folder / "cgroup.events", os.O_RDONLY)
    except OSError:
        return
    try:
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        if b"populated 1" in os.read(events, 4096):
            poll.poll(EMPTY_LIMIT_S * 1000)
    finally:
        os.close(events)


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
