"""Nouns of a host's verification before it takes load again: what was looked at, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

NAME: Final = re.compile(r"burn-in-[0-9a-f]{8}")


def burn_in_name(task: str) -> str:
    """Of the guest that a verification makes for a while. It is nobody's: no planner moves it."""
    return f"burn-in-{task[:8]}"


def is_burn_in(guest: str) -> bool:
    """By its name."""
    return NAME.fullmatch(guest) is not None


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
