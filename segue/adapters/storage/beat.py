"""One block on shared storage for each host, by which others see that it lives although its network does not say so.

Storage that hangs holds up threads of its own, and nothing else. It decides nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
import threading
import time
from pathlib import Path
from typing import Final

from segue.model.roster import NAME

FOLDER: Final = ".segue-beats"
BLOCK: Final = 4096
BEAT_S: Final = 1.0
WATCH_S: Final = 1.2
"""A host that lives has written within this."""
READERS: Final = 8
"""Threads that may hang."""


class Beats:
    """Writes our own block once a second; looks at another's when somebody asks."""

    def __init__(self, name: str, shared: Path, boot: str) -> None:
        self._name = name
        self._shared = shared
        self._boot = boot
        self._reading = 0

    def start(self) -> None:
        """For as long as the process lives; where there is no shared storage nothing happens."""
        if self._shared.is_dir():
            threading.Thread(target=self._write_on, daemon=True, name="beats").start()

    async def moves(self, host: str) -> bool:
        """Whether its block changes while we look: a host that is dead cannot do that."""
        path = self._shared / FOLDER / host
        if not NAME.fullmatch(host):
            return False
        first, _ = await asyncio.gather(self._read_beside(path), asyncio.sleep(WATCH_S))
        return bool(first) and await self._read_beside(path) not in {"", first}

    def _write_on(self) -> None:
        number = 0
        while True:
            with contextlib.suppress(
                OSError
            ):  # Storage that is away is what others see: the block stands still.
                (self._shared / FOLDER).mkdir(mode=0o700, exist_ok=True)
                self.write(number)
            number += 1
            time.sleep(BEAT_S)

    def write(self, number: int) -> None:
        """Past every cache, so that it says something of the storage. Raises OSError."""
        text = json.dumps({"host": self._name, "boot": self._boot, "number": number}).encode()
        with mmap.mmap(-1, BLOCK) as block:
            block[: len(text)] = text
            file = _open(self._shared / FOLDER / self._name, os.O_WRONLY | os.O_CREAT)
            try:
                os.pwritev(file, [block], 0)
            finally:
                os.close(file)

    async def _read_beside(self, path: Path) -> str:
        """In a thread of its own, which is left to itself where it hangs; empty where nothing was read in time."""
        if self._reading >= READERS:
            return ""
        loop, told = asyncio.get_running_loop(), asyncio.Event()
        found = [""]

        def work() -> None:
            with contextlib.suppress(OSError):
                found[0] = _read(path)
            self._reading -= 1
            with contextlib.suppress(RuntimeError):  # The agent has ended meanwhile.
                loop.call_soon_threadsafe(told.set)

        self._reading += 1
        threading.Thread(target=work, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WATCH_S):
                await told.wait()
        return found[0]


def _read(path: Path) -> str:
    file = _open(path, os.O_RDONLY)
    try:
        with mmap.mmap(-1, BLOCK) as block:
            count = os.preadv(file, [block], 0)
            return bytes(block[:count]).rstrip(b"\0").decode(errors="replace")
    finally:
        os.close(file)


def _open(path: Path, flags: int) -> int:
    """Direct where the file system can; else written through."""
    try:
        return os.open(path, flags | os.O_DIRECT | os.O_DSYNC | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        raise
    except OSError:
        return os.open(path, flags | os.O_DSYNC | os.O_CLOEXEC, 0o600)
