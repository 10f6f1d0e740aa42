"""What happened when around a blackout: marks of both hosts on one clock. It only tells, nothing hangs on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from segue.engine.clock import Clock

Marks = tuple[tuple[str, float], ...]
"""(what, wall-clock seconds)."""


@dataclass
class Timeline:
    """Collects the source's marks."""

    clock: Clock
    marks: list[tuple[str, float]] = field(default_factory=list)

    def mark(self, what: str) -> None:
        """It happened now."""
        self.marks.append((what, self.clock.wall_s()))


def since(stopped_at_s: float, marks: Iterable[tuple[str, float]]) -> Marks:
    """Seconds after the guest stood, in their order; what came before it is below zero."""
    return tuple(sorted(((what, at_s - stopped_at_s) for what, at_s in marks), key=lambda mark: mark[1]))
