"""Whether this machine's clock may say what is old enough to be dropped: never one that has just jumped."""

from __future__ import annotations

from typing import Final

from segue.adapters import clock

JUMP_S: Final = 600.0
LASTS_S: Final = 86400.0


class CalmClock:
    """For one tenure: a leader whose clock jumped by a year would find everything old, and drop it for all."""

    def __init__(self) -> None:
        self._off_s = self._since_s = 0.0
        self._begin()

    def lasts(self) -> bool:
        """True once wall clock and steady clock have gone together for a day."""
        if abs(clock.wall_s() - clock.steady_s() - self._off_s) > JUMP_S:
            self._begin()
        return clock.steady_s() - self._since_s >= LASTS_S

    def _begin(self) -> None:
        self._since_s = clock.steady_s()
        self._off_s = clock.wall_s() - self._since_s
