"""Starts the processes that carry a folder between two hosts, and hears what they say; see ship_out and ship_in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Mapping
from typing import Any, Final, Self

from segue.errors import Aborted

LEAVE_S: Final = 1.0


class Porter:
    """One such process. It ends when its input does, and so with this program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._said: dict[str, asyncio.Future[str]] = {}
        self._failed = ""
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, module: str, order: Mapping[str, Any]) -> Self:
        """Starts it and tells it what to carry."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"segue.adapters.criu.{module}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        porter = cls(process)
        porter.tell(json.dumps(dict(order)))
        return porter

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def tell(self, line: str) -> None:
        """A word to it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())

    async def hear(self, word: str, within_s: float | None) -> str:
        """What it said after `word`, now or before. Raises Aborted where it has ended, TimeoutError."""
        async with asyncio.timeout(within_s):
            return await asyncio.shield(self._future(word))

    async def leave(self, line: str) -> None:
        """A last word, after which it ends by itself; so the other host learns why."""
        with contextlib.suppress(OSError, TimeoutError):
            self.tell(" ".join(line.split()))
            async with asyncio.timeout(LEAVE_S):
                await self._process.wait()
        await self.end()

    async def end(self) -> None:
        """Ends it. Safe to repeat."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._listening

    def _future(self, word: str) -> asyncio.Future[str]:
        if word not in self._said:
            self._said[word] = asyncio.get_running_loop().create_future()
            if self._listening.done():
                self._said[word].set_exception(self._broken())
        return self._said[word]

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            word, _, rest = raw.decode(errors="replace").strip().partition(" ")
            if word == "failed":
                self._failed = rest
            elif not self._future(word).done():
                self._future(word).set_result(rest)
        for future in self._said.values():
            if not future.done():
                future.set_exception(self._broken())
                future.exception()  # Whether somebody waits for it or not.

    def _broken(self) -> Aborted:
        return Aborted(
            what="the application's state did not get to the other host",
            why=self._failed or "the process that carries it has ended",
            todo="Look at the link between the two hosts and at the room in their memory, then try again.",
        )
