"""The agent's line to its host's guard (agent/guard.py): one word, one answer. It decides nothing."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters import system
from segue.agent.guard import VERSION
from segue.errors import Kind, Refused

ANSWER_S: Final = 1.0
READY_S: Final = 10.0
CREDENTIALS: Final = struct.Struct("3i")
"""SO_PEERCRED: process, user, group of whoever listens."""


@dataclass(frozen=True)
class Said:
    """over: no guest may run. ends_s: of the lease, by CLOCK_BOOTTIME. guests: uuids of those that are not gone.
    version: of the guard, which may be older than its agent. awaits: guests may run that it does not have yet."""

    over: bool
    ends_s: float
    guests: tuple[str, ...]
    version: int = 1
    awaits: bool = False

    @property
    def is_old(self) -> bool:
        """It does not know all that this agent would tell it."""
        return self.version < VERSION


def read(said: dict[str, Any]) -> Said:
    """From a guard's answer."""
    more = said.get("version", 1), said.get("awaits", False)
    return Said(said["over"], said["ends_s"], tuple(said["guests"]), *more)


class GuardLine:
    """One host's. Raises OSError (TimeoutError with it) where no guard answers."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def ask(self) -> Said:
        """How it stands."""
        return await self._say({"do": "look"})

    async def renew(self, until_s: float) -> Said:
        """Only a lease that is not over gets longer."""
        return await self._say({"do": "renew", "until_s": until_s})

    async def begin(self, until_s: float) -> Said:
        """A new lease; nothing of the old guests may be left."""
        return await self._say({"do": "begin", "until_s": until_s})

    async def complete(self) -> Said:
        """It has all guests that run: one that took another's place awaits them, and that word."""
        return await self._say({"do": "complete"})

    async def admit(self, uuid: str, pid: int) -> Said:
        """From now on that process ends with the lease. Where it is over, or the guest is not among those that the
        guard then has, it was not admitted."""
        handle = os.pidfd_open(pid)
        return await self._hand(uuid, handle, f"process {pid} {system.birth(pid)}", is_tree=False)

    async def admit_tree(self, uuid: str, cgroup: Path) -> Said:
        """The same for all that is in a cgroup, whatever it is."""
        handle = os.open(cgroup, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return await self._hand(uuid, handle, f"cgroup {os.fstat(handle).st_ino}", is_tree=True)

    async def _hand(self, uuid: str, handle: int, mark: str, *, is_tree: bool) -> Said:
        try:
            return await self._say({"do": "admit", "guest": uuid, "mark": mark, "is_tree": is_tree}, handle)
        finally:
            os.close(handle)

    async def end(self) -> None:
        """It ends, and guests run on: nobody may count on the lease any more."""
        await self._say({"do": "end"})

    async def _say(self, word: dict[str, Any], handle: int | None = None) -> Said:
        # In a thread: a guard that stands still must not hold up the agent.
        return await asyncio.to_thread(self._talk, word, [handle] if handle is not None else [])

    def _talk(self, word: dict[str, Any], handles: list[int]) -> Said:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(ANSWER_S)
            line.connect(str(self._path))
            socket.send_fds(line, [json.dumps(word).encode()], handles)
            data = line.recv(1 << 16)
        if not data:
            raise ConnectionError("the guard hung up")
        return read(json.loads(data))

    async def retire(self) -> None:
        """It ends, and its watchdog runs on, as where it died: the next one must be there before that bites."""
        await asyncio.to_thread(self._retire)

    def _retire(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
            line.settimeout(ANSWER_S)
            line.connect(str(self._path))
            found = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        handle = os.pidfd_open(CREDENTIALS.unpack(found)[0])
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            ended = select.poll()
            ended.register(handle, select.POLLIN)
            ended.poll(1000 * ANSWER_S)  # It has the watchdog until then.
        finally:
            os.close(handle)

    async def start(self, device: str, seconds: float, until_s: float = 0.0) -> None:
        """A guard that runs from now on, whatever becomes of this agent. until_s: of the lease under which guests may
        run that it is to be told of yet; an agent that does not come so far is as a guest that does not end. Raises
        Refused with its own words."""
        argv = [
            sys.executable,
            "-m",
            "segue.agent.guard",
            str(self._path),
            device,
            f"{seconds:g}",
            str(until_s),
        ]
        # Not asyncio's subprocess: that kills its child when the event loop ends.
        started = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True, cwd="/",
        )  # fmt: skip
        said = await asyncio.to_thread(_first_line, started)
        if said != "ready":
            raise Refused(
                what="this host has no guard of its guests' lease",
                why=said.removeprefix("failed ") or "it ended at once",
                todo="Look at [lease] in agent.toml: a watchdog that is free, and takes so short a time.",
                kind=Kind.CONFLICT,
            )


def _first_line(started: subprocess.Popen[bytes]) -> str:
    assert started.stdout is not None
    with started.stdout as out:
        ready, _, _ = select.select([out], [], [], READY_S)
        return out.readline().decode(errors="replace").strip() if ready else ""
