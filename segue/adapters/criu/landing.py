"""An application comes to this host: received, restored, and held until it is known whose it is. It decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from segue.adapters.criu import keys, program
from segue.adapters.criu.hook import Hook, Word
from segue.adapters.criu.porter import Porter
from segue.adapters.criu.program import Command, Container, Room
from segue.errors import Aborted

END_S = 30.0
Launch = Callable[[Command], Awaitable[asyncio.subprocess.Process]]
"""Starts crun with pipes for its output, as the container was started with: who keeps them sees to it."""


class Landing:
    """One move of one container, on its target."""

    def __init__(self, container: Container, hook: Path, launch: Launch) -> None:
        self._container = container
        self._script = hook
        self._launch = launch
        self._room = Room(container.bundle / "move")
        self._hook: Hook | None = None
        self._porter: Porter | None = None
        self._restore: asyncio.subprocess.Process | None = None
        self._working: asyncio.Task[None] | None = None
        self.is_complete = False
        """All is restored and waits for the word to run."""
        self.failure = ""
        self.marks: list[tuple[str, float]] = []

    @property
    def pid(self) -> int:
        """The process that listens; 0 where none does."""
        return self._porter.pid if self._porter is not None else 0

    async def open(self, host: str, secret: str, memory_bytes: int, *, channels: int = 2) -> str:
        """Waits for the images at a free port of `host`; host:port. What arrives is restored by itself."""
        self._room.make(memory_bytes)
        self._room.configure(self._script)
        self._hook = Hook(self._room.top)
        identity = keys.pem(secret).decode() if secret else ""
        order = {"host": host, "channels": channels, "identity": identity, "folder": str(self._room.images)}
        self._porter = await Porter.start("ship_in", order)
        port = await self._porter.hear("listening", END_S)
        self._working = asyncio.create_task(self._receive())
        return f"{host}:{port}"

    async def complete(self, within_s: float) -> bool:
        """True once it is; waits for that at most `within_s`."""
        if self._working is not None:
            await asyncio.wait({self._working}, timeout=within_s)
        return self.is_complete

    async def go(self) -> float:
        """Lets it run; wall-clock seconds at which it did. Raises Aborted where it cannot."""
        if self._hook is None or self._restore is None:
            raise self._not_restored()
        self._mark("told")
        told = await self._hook.tell(Word.GO)
        code = await asyncio.wait_for(self._restore.wait(), END_S) if told else -1
        if code != 0:
            raise self._not_restored()
        ran_s = time.time()
        await self._end()
        return ran_s

    async def drop(self) -> None:
        """Nothing of what came stays. Safe to repeat."""
        if self._working is not None:
            self._working.cancel()
        if self._hook is not None and self._restore is not None and self._restore.returncode is None:
            await self._hook.tell(Word.UNDO)
            await asyncio.wait_for(self._restore.wait(), END_S)
        self.is_complete = False
        await self._end()

    async def _receive(self) -> None:
        assert self._porter is not None
        try:
            await self._porter.hear("arrived", None)
            self._mark("arrived")
            await self._restore_all()
        except Aborted as error:
            self.failure = error.why
            await self._porter.end()  # The source hears of it by the end of its connection.
            return
        self.is_complete = True
        self._mark("restored")
        self._porter.tell("restored")

    async def _restore_all(self) -> None:
        assert self._hook is not None
        command = program.restore(self._container, self._room, self._room.top / "criu.conf")
        self._restore = await self._launch(command)
        asked, ended = asyncio.create_task(self._hook.asked()), asyncio.create_task(self._restore.wait())
        await asyncio.wait({asked, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not asked.done():
            asked.cancel()
            raise self._not_restored()

    async def _end(self) -> None:
        if self._porter is not None:
            await self._porter.end()
        if self._hook is not None:
            self._hook.close()
        self._room.clear()
        self._hook = self._porter = None

    def _mark(self, what: str) -> None:
        self.marks.append((what, time.time()))

    def _not_restored(self) -> Aborted:
        return Aborted(
            what=f"{self._container.name} cannot be brought to life here",
            why=f"CRIU did not restore it: {program.reason(self._room, 'restore') or 'it gave no reason'}",
            todo="Read CRIU's words in the agent's log; compare kernels and programs of the two hosts.",
        )
