"""A program that goes on when the agent ends, and that an agent which was restarted finds again. It never kills it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from segue.adapters import system


class Running:
    """One such program, by its number. Not asyncio's subprocess: that kills its child when the event loop ends."""

    def __init__(self, pid: int, process: subprocess.Popen[bytes] | None = None) -> None:
        self._process = process
        self._ended = asyncio.Event()
        self._handle = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._handle, self._note_end)

    @classmethod
    def start(cls, argv: Sequence[str], log: Path, note: Path, hears: socket.socket | None = None) -> Self:
        """Starts it; what it says goes into `log`, what it is into `note`. hears: its input."""
        with log.open("ab") as out:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL if hears is None else hears.fileno(),
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd="/",
            )
        with contextlib.suppress(OSError):  # CRIU that is killed at its work may take others along.
            Path(f"/proc/{process.pid}/oom_score_adj").write_text("-1000")
        note.write_text(f"{process.pid} {system.birth(process.pid)}")
        return cls(process.pid, process)

    @classmethod
    def find(cls, note: Path) -> Self | None:
        """What was started by an agent before this one, if it lives."""
        try:
            pid, birth = note.read_text().split()
            return cls(int(pid)) if system.birth(int(pid)) == birth else None
        except (FileNotFoundError, ProcessLookupError):
            return None

    @property
    def ended(self) -> bool:
        """True once it has."""
        return self._ended.is_set()

    async def wait(self) -> None:
        """Returns when it has ended."""
        await self._ended.wait()

    def _note_end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._handle)
        os.close(self._handle)
        if self._process is not None:
            self._process.wait()
        self._ended.set()
