"""How fast a copy sends, learned from its own count of bytes; it asks nobody."""

from __future__ import annotations

import time
from typing import Final

LEAST_S: Final = 0.05
"""A speed seen over less is that of a socket's buffer."""
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

    def see(self, sent_bytes: int) -> None:
        """So much was sent by now."""
        if (spent_s := time.monotonic() - self._begun_s) >= LEAST_S:
            self.bytes_per_s = (sent_bytes - self._sent_bytes) / spent_s

    def takes_s(self, count: int) -> float:
        """To send so many bytes."""
        return count / max(self.bytes_per_s, SLOWEST_BYTES_PER_S)
