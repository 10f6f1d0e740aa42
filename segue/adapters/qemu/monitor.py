"""One QMP connection: commands with a limit, and events that can be waited for. It decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from qemu.qmp import ConnectError, EventListener, ExecInterruptedError, ExecuteError, QMPClient

Event = dict[str, Any]
Heard = Callable[[Event], None]

COMMAND_S = 10.0
"""QMP answers in about a millisecond; a monitor silent for this long is stuck (fact: a full socket)."""


class QemuGone(Exception):
    """QEMU's process ended or its monitor hung up."""


class QemuDeaf(QemuGone):
    """Somebody listens at the monitor's socket, and does not answer: the guest may well run."""


class QemuRefused(Exception):
    """QEMU answered a command with an error."""


def stamp_s(event: Event) -> float:
    """QEMU's own wall-clock time of an event."""
    stamp = event["timestamp"]
    return float(stamp["seconds"]) + float(stamp["microseconds"]) / 1e6


class Monitor:
    """Commands and events of one QEMU. Listeners are called in order, on the event loop."""

    def __init__(self, name: str, path: Path) -> None:
        self._qmp = QMPClient(name)
        self._path = path
        self._pump: asyncio.Task[None] | None = None
        self._heard: list[Heard] = []
        self._changed = asyncio.Condition()
        self._hanging_up = asyncio.Lock()
        self.gone = asyncio.Event()

    async def connect(self, within_s: float = COMMAND_S) -> None:
        """Raises QemuGone where nobody listens, QemuDeaf where nobody answers in time."""
        listener = EventListener()
        self._qmp.register_listener(listener)
        try:
            async with asyncio.timeout(within_s):
                await self._qmp.connect(str(self._path))
        except TimeoutError as error:
            raise QemuDeaf(f"QEMU does not answer at {self._path}") from error
        except (ConnectError, OSError) as error:
            raise QemuGone(f"no QEMU answers at {self._path}") from error
        self._pump = asyncio.create_task(self._listen(listener), name=f"events of {self._path.parent.name}")

    @property
    def version(self) -> str:
        """QEMU's, from its greeting; empty before it is connected."""
        greeting = self._qmp.greeting
        if greeting is None:
            return ""
        found = cast("dict[str, int]", greeting.QMP.version["qemu"])
        return f"{found['major']}.{found['minor']}.{found['micro']}"

    def on_event(self, heard: Heard) -> None:
        """Calls `heard` for every event from now on; it must return at once."""
        self._heard.append(heard)

    async def execute(
        self, command: str, *, within_s: float = COMMAND_S, oob: bool = False, **arguments: Any
    ) -> Any:
        """The command's `return`. Underscores in argument names stand for QMP's hyphens."""
        named = {key.replace("_", "-"): value for key, value in arguments.items()}
        try:
            async with asyncio.timeout(within_s):
                return await self._qmp.execute(command, named or None, oob=oob)
        except ExecuteError as error:
            raise QemuRefused(f"{command}: {error}") from error
        except TimeoutError as error:
            raise TimeoutError(f"QEMU did not answer {command} within {within_s:g} s") from error
        except (ExecInterruptedError, OSError, EOFError) as error:
            raise QemuGone(f"QEMU hung up during {command}") from error
        except Exception as error:
            # qemu.qmp raises StateError and others of its own after a hang-up.
            if self.gone.is_set() or type(error).__module__.startswith("qemu.qmp"):
                raise QemuGone(f"QEMU hung up before {command}") from error
            raise

    async def until(self, met: Callable[[], bool], *, within_s: float) -> None:
        """Waits until `met` holds; it is tried after every event. Raises QemuGone, TimeoutError."""
        async with asyncio.timeout(within_s), self._changed:
            while not met():
                if self.gone.is_set():
                    raise QemuGone("QEMU ended while something was awaited of it")
                await self._changed.wait()

    async def close(self) -> None:
        """Hangs up; QEMU goes on."""
        try:
            async with asyncio.timeout(1.0):
                await self._hang_up()
        except (OSError, EOFError, TimeoutError):
            self.gone.set()
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _listen(self, listener: EventListener) -> None:
        follow = asyncio.create_task(self._follow(listener))
        disconnected = asyncio.create_task(self._until_disconnected())
        await asyncio.wait({follow, disconnected}, return_when=asyncio.FIRST_COMPLETED)
        follow.cancel()
        disconnected.cancel()
        self.gone.set()
        await self._wake()

    async def _until_disconnected(self) -> None:
        while self._qmp.runstate.name in {"RUNNING", "CONNECTING"}:
            await self._qmp.runstate_changed()
        # The socket's end was seen: finish the library's own half of the hang-up.
        try:
            await self._hang_up()
        except (OSError, EOFError):
            return

    async def _hang_up(self) -> None:
        """One at a time: the library fails on an assertion when QEMU's end and ours meet."""
        async with self._hanging_up:
            await self._qmp.disconnect()

    async def _follow(self, listener: EventListener) -> None:
        async for event in listener:
            for heard in self._heard:
                heard(dict(event))
            await self._wake()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()
