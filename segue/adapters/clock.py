"""The clock of whoever holds leases: it goes on while the machine sleeps, and nobody can set it."""

from __future__ import annotations

import asyncio
import time


def since_boot_s() -> float:
    """Seconds since this machine's boot, the same for all its processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class BootClock:
    """Engine port `Clock`."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def steady_s(self) -> float:
        """Seconds that only grow; a leader that slept must see that its time is over."""
        return since_boot_s()

    async def rest(self, seconds: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(seconds)
