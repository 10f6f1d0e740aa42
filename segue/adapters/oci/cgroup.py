"""One application's cgroup (version 2): whether anything of it runs, freezing, ending, and what limits are there."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

from segue.adapters.oci.places import CGROUP, CGROUPS

FREEZE_S: Final = 5.0
LOOK_AGAIN_S: Final = 0.0005
LIMITING: Final = ("memory", "cpu", "pids")
"""The controllers that limit applications."""


class Cgroup:
    """Every method may be called twice. A cgroup that is not there has nothing in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def populated(self) -> bool:
        """True while any process is in it; what is being ended counts."""
        return self._event("populated")

    @property
    def frozen(self) -> bool:
        """True once nothing in it runs any more, until it is thawed."""
        return self._event("frozen")

    async def freeze(self) -> None:
        """Nothing in it runs when this returns. Raises TimeoutError."""
        self._write("cgroup.freeze", "1")
        deadline = time.monotonic() + FREEZE_S
        while not self.frozen:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.folder} does not freeze")
            # Faster than inotify where it counts: the kernel needs less than a millisecond (lab).
            await asyncio.sleep(LOOK_AGAIN_S)

    def thaw(self) -> None:
        """What is in it goes on."""
        self._write("cgroup.freeze", "0")

    def kill(self) -> None:
        """SIGKILL to everything in it, also to what is frozen or being born."""
        self._write("cgroup.kill", "1")

    def remove(self) -> None:
        """An empty one goes."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _event(self, name: str) -> bool:
        try:
            lines = (self.folder / "cgroup.events").read_text(encoding="ascii").splitlines()
        except OSError:
            return False
        return f"{name} 1" in lines

    def _write(self, name: str, value: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            (self.folder / name).write_text(value, encoding="ascii")


def prepare() -> frozenset[str]:
    """The controllers that limit applications on this host; the rest of the kernel's may be bound to version 1."""
    parent = CGROUPS / CGROUP
    with contextlib.suppress(OSError):
        parent.mkdir(exist_ok=True)
        for folder in (CGROUPS, parent):
            _hand_down(folder)
        return frozenset((parent / "cgroup.subtree_control").read_text(encoding="ascii").split())
    return frozenset()


def fault() -> str:
    """Why no application can have a cgroup here; empty where it can."""
    trial = CGROUPS / CGROUP / "segue trial"  # No application can have this name.
    try:
        trial.mkdir(parents=True)
        trial.rmdir()
    except OSError as error:
        return f"{trial.parent}: {error.strerror}"
    return "" if (CGROUPS / "cgroup.controllers").exists() else f"{CGROUPS} is no version 2 cgroup"


def _hand_down(folder: Path) -> None:
    for name in (folder / "cgroup.controllers").read_text(encoding="ascii").split():
        if name in {"cpu", "memory", "pids", "io"}:
            with contextlib.suppress(OSError):
                (folder / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")
