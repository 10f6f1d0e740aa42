"""Chooses a guest's user number, and says whether one that comes with a guest may be used."""

from __future__ import annotations

from collections.abc import Collection

from segue.model.guest import Guest

COUNT = 1 << 27
"""So many numbers that two of 1,000 guests meet by chance once in 270 fleets (birthday problem)."""
LOWEST = 1 << 20
"""Below it are people, system services and, on Debian, the ranges of /etc/subuid."""
HIGHEST = (1 << 31) - (1 << 16)
"""Programs that keep user numbers in signed integers fail above."""


def number(uuid: str, first: int, taken: Collection[int]) -> int:
    """A number from `first` on that no guest of this host has: the same for the same uuid; 0 where first is 0."""
    if not first:
        return 0
    wanted = int(uuid.replace("-", ""), 16) % COUNT
    while first + wanted in taken:
        wanted = (wanted + 1) % COUNT
    return first + wanted


def objection(guest: Guest, others: Collection[Guest]) -> str:
    """Why a guest may not run here under its number; empty if it may. A peer that was taken over could send any."""
    if guest.uid and not LOWEST <= guest.uid <= HIGHEST:
        return f"its user number {guest.uid} is not between {LOWEST} and {HIGHEST}"
    for other in others:
        if guest.uid and other.uid == guest.uid and other.uuid != guest.uuid:
            return f"its user number {guest.uid} is that of {other.name} here"
    return ""


def usable(first: int) -> bool:
    """Whether a range may begin there; 0 stands for none."""
    return first == 0 or LOWEST <= first <= HIGHEST - COUNT
