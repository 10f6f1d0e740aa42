"""Nouns of a host's verification before it takes load again: what was looked at, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PREFIX: Final = "burn-in-"
"""Guests of that name are made for a while, and are nobody's: no planner moves them."""


@dataclass(frozen=True)
class Said:
    """What a burn-in guest has said on one host: looks at its memory that were good, and the last that were not."""

    good: int = 0
    bad: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Verification:
    """A host's last one: under `verifications/HOST`. A host that has not passed takes no guest in until it has."""

    host: str
    at_s: float
    by: str
    ok: bool
    checks: tuple[Check, ...] = ()
    rectified: tuple[str, ...] = ()
    """Parts of which it was then said that they were mended."""

    @property
    def text(self) -> str:
        """What spoke against it."""
        return "; ".join(f"{check.name}: {check.text}" for check in self.checks if not check.ok)
