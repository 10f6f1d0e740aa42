"""When a certificate is renewed, tried again, and complained about. Pure: times in, times out."""

from __future__ import annotations

from typing import Final

SHARE: Final = 2 / 3
"""Of its life that a certificate is used before it is renewed."""
SPREAD: Final = 0.1
"""Certificates that were made at the same time are not renewed at the same time: up to this share of life earlier."""
OVERDUE: Final = 0.75
EARLIEST: Final = 0.6
"""Of a person's certificate: before the share at which it is asked for, as clocks differ."""
AGAIN_LEAST_S: Final = 1.0
AGAIN_MOST_S: Final = 3600.0
TRIES: Final = 20
"""Attempts that what is left of a certificate's life has room for, at least."""


def due_s(begins_s: float, ends_s: float, draw: float) -> float:
    """The time at which it is to be renewed. draw: 0 to 1, by chance, once for each certificate."""
    return begins_s + (ends_s - begins_s) * (SHARE - SPREAD * draw)


def again_in_s(ends_s: float, now_s: float, draw: float) -> float:
    """The pause after an attempt that failed: short where little time is left, and never the same for all hosts."""
    left_s = max(0.0, ends_s - now_s)
    return max(AGAIN_LEAST_S, min(AGAIN_MOST_S, left_s / TRIES)) * (0.5 + 0.5 * draw)


def may(begins_s: float, ends_s: float, now_s: float) -> bool:
    """True where a person's certificate is old enough to be renewed: one that is stolen makes no heap of others."""
    return begins_s + (ends_s - begins_s) * EARLIEST <= now_s < ends_s


def is_time(begins_s: float, ends_s: float, now_s: float) -> bool:
    """True in the last third of its life, when whoever has it asks for the next one."""
    return begins_s + (ends_s - begins_s) * SHARE <= now_s < ends_s


def is_overdue(begins_s: float, ends_s: float, now_s: float) -> bool:
    """True when a renewal ought to have happened long ago, and a quarter of its life is still left to mend it."""
    return now_s >= begins_s + (ends_s - begins_s) * OVERDUE
