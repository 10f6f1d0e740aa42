"""Time, as the engine knows it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        ...

    def steady_s(self) -> float:
        """Seconds that only grow."""
        ...

    async def rest(self, seconds: float) -> None:
        """Lets time pass."""
        ...
