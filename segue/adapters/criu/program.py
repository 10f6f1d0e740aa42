"""What crun and CRIU are told, and what their logs say; it starts nothing itself."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.adapters.criu import tmpfs
from segue.model.belongings import GHOST_BYTES_MAX

SAME: Final = ("--tcp-established", "--file-locks", "--manage-cgroups-mode", "ignore")
"""What dump and restore have to agree on. The cgroup is made by crun, on both hosts alike."""
CONFIG: Final = "CRIU_CONFIG_FILE"
LOG: Final = {"dump": "dump.log", "restore": "restore.log"}


@dataclass(frozen=True)
class Container:
    """Where one container is to be found on this host, or is to be put."""

    name: str
    bundle: Path
    crun_root: Path
    cgroup: Path
    files: Path | None = None
    """The folder in which its own files lie; None where it has none that move with it."""


PARTS: Final = ("upper", "volumes")
"""Of that folder: what moves."""


@dataclass(frozen=True)
class Room:
    """The folder of one move on one host: images, logs and the hook's FIFOs, all in memory."""

    top: Path

    @property
    def images(self) -> Path:
        """What is dumped, and restored from."""
        return self.top / "images"

    @property
    def config(self) -> Path:
        """CRIU's configuration for this move."""
        return self.top / "criu.conf"

    @property
    def log(self) -> Path:
        """What crun had to say."""
        return self.work / "crun.log"

    @property
    def note(self) -> Path:
        """Which process dumps."""
        return self.top / "crun.pid"

    @property
    def pager_log(self) -> Path:
        """What the pager had to say."""
        return self.work / "pager.log"

    @property
    def pager_note(self) -> Path:
        """Which process it is."""
        return self.top / "pager.pid"

    @property
    def work(self) -> Path:
        """CRIU's logs and sockets."""
        return self.top / "work"

    def make(self, memory_bytes: int) -> None:
        """An empty room for images of that much memory. Raises OSError."""
        self.clear()
        self.top.mkdir(parents=True, mode=0o700)
        tmpfs.mount(self.top, memory_bytes)
        for folder in (self.images, self.work):
            folder.mkdir(mode=0o700)

    def clear(self) -> None:
        """Nothing of it stays. Safe to repeat."""
        tmpfs.unmount(self.top)
        shutil.rmtree(self.top, ignore_errors=True)

    def configure(self, hook: Path, *, on_demand: bool = False) -> None:
        """CRIU's own configuration: crun hands on only a part of what it needs to know. on_demand: see `paging`."""
        lines = [
            "tcp-established",
            "file-locks",
            f"ghost-limit {GHOST_BYTES_MAX}",  # Files that are open and deleted go with the memory.
            "network-lock skip",  # Frames are held by us, on both hosts: see the networks' adapters.
            f"action-script {hook}",
            *(["lazy-pages"] if on_demand else []),
        ]
        self.config.write_text("\n".join(lines) + "\n")


def checkpoint(container: Container, room: Room, real: tuple[int, int]) -> tuple[str, ...]:
    """Dumps the container, and ends it once the hook says go. real: user and group, beside the effective ones."""
    words = _crun(container, room.config, "checkpoint", *_places(room), *SAME, container.name)
    return ("setpriv", "--keep-groups", f"--ruid={real[0]}", f"--rgid={real[1]}", *words)


def restore(container: Container, room: Room) -> tuple[str, ...]:
    """Makes the container out of the images; it runs once the hook says go."""
    where = ("--bundle", str(container.bundle), "--detach", "--pid-file", str(container.bundle / "pid"))
    return _crun(container, room.config, "restore", *where, *_places(room), *SAME, container.name)


def reason(room: Room, what: str) -> str:
    """The first error in CRIU's log, which is the cause; the others follow from it."""
    try:
        lines = (room.work / LOG[what]).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    # A name space without a limit of its own says this each time, and goes on.
    errors = [line for line in lines if "Error (" in line and "RLIMIT_NOFILE" not in line]
    return errors[0].partition("Error (")[2].partition("): ")[2] if errors else ""


def signal(container: Container, room: Room, number: int) -> list[int]:
    """Sends it to everything that crun and CRIU run for this move; who that was. None of it is the application's: a
    restored process has CRIU's log open until it runs, and a signal to it would be taken for one of CRIU's own."""
    found, own = [], _processes(container.cgroup)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name not in own:
            with contextlib.suppress(OSError):  # It ended while we looked.
                if _works_for(entry, room):
                    os.kill(int(entry.name), number)
                    found.append(int(entry.name))
    return found


def _processes(cgroup: Path) -> set[str]:
    with contextlib.suppress(OSError):
        return set((cgroup / "cgroup.procs").read_text().split())
    return set()


def _works_for(process: Path, room: Room) -> bool:
    """By its environment; CRIU writes its own title over that, but keeps its log open."""
    if f"{CONFIG}={room.config}".encode() in (process / "environ").read_bytes().split(b"\0"):
        return True
    return any(os.readlink(fd).startswith(f"{room.work}/") for fd in (process / "fd").iterdir())


def _places(room: Room) -> tuple[str, ...]:
    return ("--image-path", str(room.images), "--work-path", str(room.work))


def _crun(container: Container, config: Path, *words: str) -> tuple[str, ...]:
    own = ("--root", str(container.crun_root), "--cgroup-manager", "cgroupfs")
    return ("env", f"{CONFIG}={config}", "crun", *own, *words)
