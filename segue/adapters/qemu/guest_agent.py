"""Speaks to qemu-guest-agent inside a guest: one question at a time, each with a limit. A guest is never trusted:
what it answers is read up to a bound, and nothing waits for it longer than was said."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuGone, QemuRefused

CHANNEL: Final = "qga0"
"""QEMU's name for its end of the channel: see command.py."""
SENTINEL: Final = b"\xff"
"""Before the answer to guest-sync-delimited: what stood in the channel before is of an earlier, broken talk."""
LINE_BYTES_MAX: Final = 1 << 20

_locks: dict[Path, asyncio.Lock] = {}


class NoGuestAgent(Exception):
    """The guest has no agent, or it does not answer."""


class AgentRefused(Exception):
    """The agent answered with an error."""


@dataclass(frozen=True)
class Reading:
    """The guest's wall clock at one instant of our steady clock, and how far that instant may be off."""

    guest_s: float
    at_s: float
    uncertainty_s: float


async def is_there(machine: Machine) -> bool:
    """Whether something in the guest holds the agent's channel open; asks QEMU, so it never waits for the guest."""
    try:
        ports = await machine.monitor.execute("query-chardev")
    except (QemuGone, QemuRefused, TimeoutError):
        return False
    return any(port["label"] == CHANNEL and port["frontend-open"] for port in ports)


class Talk:
    """An open channel. One user at a time: see `talk`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def sync(self) -> None:
        """Both sides begin anew: what an earlier talk left in the channel is skipped."""
        number = secrets.randbits(31)
        self._writer.write(SENTINEL)
        self._send("guest-sync-delimited", {"id": number})
        while True:
            await self._reader.readuntil(SENTINEL)
            if json.loads(await self._reader.readline()).get("return") == number:
                return

    async def ask(self, command: str, **arguments: Any) -> Any:
        """The answer's `return`. Underscores in names stand for hyphens. Raises AgentRefused."""
        self._send(command, {key.replace("_", "-"): value for key, value in arguments.items()})
        answer = json.loads(await self._reader.readline() or b"null")
        if answer is None:
            raise NoGuestAgent("the channel was closed")
        if "error" in answer:
            raise AgentRefused(str(answer["error"].get("desc", answer["error"])))
        return answer.get("return")

    async def tell(self, command: str, **arguments: Any) -> None:
        """For commands whose answer is of no use."""
        try:
            await self.ask(command, **arguments)
        except AgentRefused:
            return

    async def clock(self) -> Reading:
        """The guest's wall clock."""
        asked_s = time.monotonic()
        guest_s = int(await self.ask("guest-get-time")) / 1e9
        heard_s = time.monotonic()
        return Reading(guest_s, (asked_s + heard_s) / 2, (heard_s - asked_s) / 2)

    def _send(self, command: str, arguments: dict[str, Any]) -> None:
        request: dict[str, Any] = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        self._writer.write(json.dumps(request).encode() + b"\n")


@asynccontextmanager
async def talk(path: Path, within_s: float) -> AsyncIterator[Talk]:
    """The channel for one talk of at most `within_s`. Raises NoGuestAgent, whatever the reason is."""
    lock = _locks.setdefault(path, asyncio.Lock())
    try:
        async with asyncio.timeout(within_s), lock:
            reader, writer = await asyncio.open_unix_connection(str(path), limit=LINE_BYTES_MAX)
            try:
                opened = Talk(reader, writer)
                await opened.sync()
                yield opened
            finally:
                writer.close()
    except TimeoutError as error:
        raise NoGuestAgent(f"it did not answer within {within_s:g} s") from error
    except (OSError, ValueError, AttributeError, asyncio.IncompleteReadError) as error:
        raise NoGuestAgent(f"its channel is of no use: {error}") from error
