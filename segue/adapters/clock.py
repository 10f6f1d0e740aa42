"""What time it is, for whoever asks: the machine's own clocks, unless a rehearsal gave its hosts others."""

from __future__ import annotations

import asyncio
import time
from contextvars import ContextVar
from typing import Protocol


class Ticks(Protocol):
    """A wall clock that people can set, and a steady one that they cannot."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        ...

    def steady_s(self) -> float:
        """Seconds that only grow."""
        ...


_given: ContextVar[Ticks | None] = ContextVar("clock", default=None)


def give(ticks: Ticks) -> None:
    """From here on, in this context and in every task that it starts, this is the time."""
    _given.set(ticks)


def wall_s() -> float:
    """Seconds since 1970, by the clock of the host on which this runs."""
    given = _given.get()
    return time.time() if given is None else given.wall_s()


def steady_s() -> float:
    """Seconds that only grow; nobody can set them."""
    given = _given.get()
    return time.monotonic() if given is None else given.steady_s()


def since_boot_s() -> float:
    """Seconds since this machine's boot, the same for all its processes."""
    given = _given.get()
    return time.clock_gettime(time.CLOCK_BOOTTIME) if given is None else given.steady_s()


class BootClock:
    """Engine port `Clock`. For whoever holds leases: it goes on while the machine sleeps, and nobody can set it."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def steady_s(self) -> float:
        """Seconds that only grow; a leader that slept must see that its time is over."""
        return since_boot_s()

    async def rest(self, seconds: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(seconds)


class RealClock:
    """Engine port `Clock`."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        return wall_s()

    def steady_s(self) -> float:
        """Seconds that only grow."""
        return steady_s()

    async def rest(self, seconds: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(seconds)
