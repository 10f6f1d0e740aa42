"""Judges whether a host may be believed again: what is bad now, what became worse, what is only memory. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segue.model.fleet import Taint
from segue.model.health import Health, Level
from segue.model.verification import Verification
from segue.policy import health

TAINT: Final = "verify"


def taint(verification: Verification) -> Taint:
    """Of a host that has not passed. While it is looked at guests go there last; they leave only one that failed."""
    return Taint(TAINT, hard=bool(verification.checks))


def against(before: Sequence[Health], now: Sequence[Health]) -> list[str]:
    """Parts that bear on guests and are failing now, or worse than before; by agent and BMC, in the same order."""
    found = []
    for old, new in zip(before, now, strict=False):
        ranks = {part.part: part.level.rank for part in old.parts}
        for part in new.parts:
            level = health.bearing(part, new.parts)
            is_worse = level.rank > Level.HEALTHY.rank and part.level.rank > ranks.get(part.part, 0)
            if level.rank >= Level.FAILING.rank or is_worse:
                found.append(f"{part.part} is {part.level}: {part.reasons[0].text if part.reasons else ''}")
    return found


def remembered(seen: Health) -> list[str]:
    """Parts that are suspect for nothing but what they were before: nothing is at its limit now."""
    return [part.part for part in seen.parts if part.reasons and all(map(health.is_memory, part.reasons))]
