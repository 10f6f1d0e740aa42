"""The folders that guests' disks lie in: room, and the time of a small write. A path that hangs holds nobody up."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.adapters.health.source import Look, Unseen
from segue.model.health import Kind, Part, Sample

PATIENCE_S: Final = 2.0
"""A look waits so long for one folder; then it says how long it has waited, and goes on waiting beside the others."""
WRITE_BYTES: Final = 4_096
BROKEN: Final = frozenset({errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN})
"""A file system that takes no writes any more: gone read-only after an error, or its device or server is away."""


class _Trial(threading.Thread):
    """One small durable write, and the room that is left. A daemon: a dead path must not keep the agent from ending."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True, name=f"trial of {folder}")
        self.folder = folder
        self.begun_s = time.monotonic()
        self.took_s = 0.0
        self.free_bytes = self.total_bytes = 0
        self.fault = ""
        self.broken = False
        self.start()

    def run(self) -> None:
        try:
            room = shutil.disk_usage(self.folder)
            self.free_bytes, self.total_bytes = room.free, room.total
            with tempfile.TemporaryFile(dir=self.folder, buffering=0) as file:
                file.write(bytes(WRITE_BYTES))
                os.fsync(file.fileno())
        except OSError as error:
            self.fault = str(error.strerror or error)
            self.broken = error.errno in BROKEN
        self.took_s = time.monotonic() - self.begun_s


class Storage:
    """Port `Probe`."""

    name = "storage"
    every_s = 60.0
    heavy = True

    def __init__(self, watched: Sequence[Path]) -> None:
        self._folders = tuple(dict.fromkeys(watched))
        self._trials: dict[Path, _Trial] = {}

    def look(self) -> Sample:
        """Each folder as it answers now."""
        look = Look(self.name)
        for folder in self._folders:
            if folder not in self._trials:
                self._trials[folder] = _Trial(folder)
        until_s = time.monotonic() + PATIENCE_S
        for folder, trial in list(self._trials.items()):
            trial.join(max(0.0, until_s - time.monotonic()))
            part = Part(Kind.STORAGE, str(folder))
            if trial.is_alive():
                look.see(part, "latency_s", time.monotonic() - trial.begun_s, f"a write of 4 KiB to {folder}")
                continue
            del self._trials[folder]
            _tell(look, part, trial)
        return look.sample()


def _tell(look: Look, part: Part, trial: _Trial) -> None:
    """A full disk takes no write: its room is told all the same."""
    if trial.total_bytes:
        look.see(part, "free_bytes", trial.free_bytes, f"df {trial.folder}")
        look.see(part, "free_share", trial.free_bytes / trial.total_bytes, f"df {trial.folder}")
    if trial.broken:
        look.see(part, "unwritable", 1.0, f"a write of 4 KiB to {trial.folder}: {trial.fault}")
    elif trial.fault:
        look.miss(Unseen(trial.folder, trial.fault))
    else:
        look.see(part, "unwritable", 0.0, f"a write of 4 KiB to {trial.folder}")
        look.see(part, "latency_s", round(trial.took_s, 4), f"a write of 4 KiB to {trial.folder}")
