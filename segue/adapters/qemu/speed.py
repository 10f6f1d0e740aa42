"""How fast a copy sends and its guest writes, learned from the copy's own counts; it asks nobody."""

from __future__ import annotations

import math
import time
from typing import Final

LEAST_S: Final = 0.05
"""A speed seen over less is that of a socket's buffer."""
STEADY_S: Final = 0.25
"""Looks may follow one another within 20 ms, and a guest writes in bursts: what one of them found says little."""
SLOWEST_BYTES_PER_S: Final = 1e6
"""Assumed of a path on which nothing was seen yet."""


class Speed:
    """The path's speed while there is something to send."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self._begun_s = 0.0
        self._sent_bytes = 0

    def begin(self, sent_bytes: int, wakes_s: float) -> None:
        """Counts from here; a copy that sleeps, from when it wakes (time.monotonic)."""
        self._begun_s, self._sent_bytes = max(time.monotonic(), wakes_s), sent_bytes

    def forget(self) -> None:
        """What is sent from here on tells nothing, until something is counted anew."""
        self._begun_s = math.inf

    def see(self, sent_bytes: int) -> None:
        """So much was sent by now."""
        if (spent_s := time.monotonic() - self._begun_s) >= LEAST_S:
            self.bytes_per_s = (sent_bytes - self._sent_bytes) / spent_s

    def takes_s(self, count: int) -> float:
        """To send so many bytes."""
        return count / max(self.bytes_per_s, SLOWEST_BYTES_PER_S)


class Writes:
    """How fast the guest writes: a running mean, in which a longer look counts for more."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self._begun = False

    def see(self, found_bytes: int, span_s: float) -> None:
        """A look found so much, `span_s` after the one before."""
        span_s = max(span_s, 1e-3)
        weight = span_s / (span_s + STEADY_S) if self._begun else 1.0
        self.bytes_per_s += weight * (found_bytes / span_s - self.bytes_per_s)
        self._begun = True
