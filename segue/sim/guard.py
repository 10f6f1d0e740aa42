"""The guard of a simulated host, with its watchdog: the real one's judgement, on simulated processes.

It belongs to no agent: killed agents leave it, and only a loss of power takes it away.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from segue.adapters.watchdog import Watchdog
from segue.agent.guard import LOOK_S, Guard
from segue.agent.guard_line import ANSWER_S, GuardLine, Said, read
from segue.errors import Refused
from segue.sim import loop as virtual
from segue.sim.fabric import OUTSIDE

if TYPE_CHECKING:
    from segue.sim.host import SimHost

START_S: Final = 0.3
RESET_S: Final = 10.0
"""Until the machine is up again."""


class SimWatchdog(Watchdog):
    """The device: it runs, fed or not, until somebody disarms it or the machine has no power."""

    def __init__(self, host: SimHost, seconds: float) -> None:
        self._host, self._seconds, self._boots = host, seconds, host.boots
        self._armed = True
        self.feed()
        self._wait(seconds)

    def feed(self) -> None:
        """See Watchdog."""
        self._fed_s = self._host.world.loop.time()

    def disarm(self) -> None:
        """See Watchdog."""
        self._armed = False

    def _wait(self, for_s: float) -> None:
        self._host.world.loop.call_later(for_s, self._look, context=OUTSIDE.context)

    def _look(self) -> None:
        host = self._host
        if not self._armed or not host.powered or host.boots != self._boots or host.watchdog is not self:
            return
        left_s = self._fed_s + self._seconds - host.world.loop.time()
        if left_s > 0:
            self._wait(left_s)
            return
        host.world.say(host.name, "its watchdog resets it")
        host.cut_power()
        host.world.loop.call_later(RESET_S, host.give_power, context=OUTSIDE.context)


class SimGuard(Guard):
    """One process. `handles`: numbers of simulated QEMUs."""

    def __init__(self, host: SimHost, watchdog: SimWatchdog, until_s: float = 0.0) -> None:
        self._host = host
        super().__init__(watchdog, until_s)
        self.lives = True
        self.stands = False
        self._unheard: list[tuple[dict[str, Any], list[int]]] = []
        self._wait()

    def kill(self) -> None:
        """As by SIGKILL: nobody feeds the watchdog any more."""
        self.lives = False

    def thaw(self) -> None:
        """It goes on where it stood: between its look and its feeding, at worst."""
        if self.stands and self.lives:
            self.stands = False
            self._watchdog.feed()
            self.look()
            for word, handles in self._unheard:
                self.answer(word, handles)
            self._unheard.clear()
            self._wait()

    def keep(self, word: dict[str, Any], handles: list[int]) -> None:
        """Said to one that stands still: it hears it when it goes on."""
        self._unheard.append((word, handles))

    def _wait(self) -> None:
        self._host.world.loop.call_later(LOOK_S, self._tick, context=OUTSIDE.context)

    def _tick(self) -> None:
        if self.lives and not self.stands and not self.ends:
            self.look()
            self._wait()

    def _now_s(self) -> float:
        return self._host.world.loop.time()

    def _kill(self, handle: int) -> None:
        qemu = self._host.by_number(handle)
        if qemu is not None:
            self._host.world.checkers.ended_by_lease(qemu)
            self._host.lose(qemu)

    def _gone(self, handles: list[int]) -> list[int]:
        return [handle for handle in handles if self._host.by_number(handle) is None]

    def _close(self, handle: int) -> None:
        """A number is not open."""


@dataclass(eq=False)
class SimGuardLine(GuardLine):
    """The real words, without a socket."""

    host: SimHost
    _path: Path = field(default=Path("/nowhere"))

    async def admit(self, uuid: str, pid: int) -> Said:
        """See GuardLine."""
        return await self._say({"do": "admit", "guest": uuid}, pid)

    async def _say(self, word: dict[str, Any], handle: int | None = None) -> Said:
        virtual.demand_alive()
        guard, handles = self.host.guard, [] if handle is None else [handle]
        if guard is None or not guard.lives or guard.ends:
            raise ConnectionRefusedError("no guard listens")
        if guard.stands:
            guard.keep(word, handles)
            await asyncio.sleep(ANSWER_S)
            raise TimeoutError("the guard does not answer")
        said = guard.answer(word, handles)
        if guard.ends:
            guard.close()
        return read(said)

    async def start(self, device: str, seconds: float, until_s: float = 0.0) -> None:
        """See GuardLine. A guard that stands still has the watchdog, and nobody else gets it."""
        await asyncio.sleep(START_S)
        virtual.demand_alive()
        known = self.host.guard
        if known is not None and known.lives and not known.ends:
            raise Refused(
                what="this host has no guard of its guests' lease",
                why="another one has the watchdog",
                todo="Look at it.",
            )
        self.host.watchdog = SimWatchdog(self.host, seconds)
        self.host.guard = SimGuard(self.host, self.host.watchdog, until_s)


class Volatile:
    """Stands for the file that says when the lease ends: gone with the host's power."""

    def __init__(self) -> None:
        self._text: str | None = None

    def read_text(self, encoding: str = "") -> str:
        """See Path."""
        if self._text is None:
            raise FileNotFoundError
        return self._text

    def write_text(self, text: str, encoding: str = "") -> None:
        """See Path."""
        virtual.demand_alive()
        self._text = text

    def forget(self) -> None:
        """There is no power."""
        self._text = None
