"""What planners answer: choices, refusals, moves with their forecasts, and why a guest stays. Immutable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one move is expected to take over a path that it has for itself."""

    total_s: float
    blackout_s: float
    copied_bytes: int
    converges: bool = True
    """False: it writes too fast for the budget, and will need throttling, post-copy or a longer pause."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Where a guest goes, and why there."""

    guest: str
    host: str
    score: float
    """What it costs there, as a share of a host: imbalance, soft rules that it breaks, time of the move."""
    why: str
    outlook: Outlook | None = None
    """None for a guest that is started, not moved."""
    others: tuple[tuple[str, float], ...] = ()
    """The next best hosts with their scores."""
    refused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NoHost:
    """No host takes the guest; every host with its reasons."""

    guest: str
    refused: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Move:
    """One guest's move in a plan; seconds count from the beginning of the plan."""

    guest: str
    source: str
    target: str
    outlook: Outlook
    why: str
    gain: float = 0.0
    """By how much imbalance falls, in shares of a host."""
    cost: float = 0.0
    """What the move itself is worth, in the same unit."""
    begins_s: float = 0.0
    ends_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Wave:
    """Moves that may run in any order and all at once: none needs room that another one leaves.

    The next wave counts on the room that this one left: it begins when this one has ended.
    """

    moves: tuple[Move, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, in waves. `staying`: guests that ought to move and cannot, with the reason."""

    waves: tuple[Wave, ...] = ()
    staying: Mapping[str, str] = field(default_factory=dict)
    total_s: float = 0.0
    least_s: float = 0.0
    """No schedule of these moves is shorter: the bytes of the busiest link, or the longest single move."""

    @property
    def moves(self) -> tuple[Move, ...]:
        """All moves in the order in which they begin."""
        return tuple(move for wave in self.waves for move in wave.moves)


@dataclass(frozen=True, slots=True)
class BalancePlan:
    """Moves that lower imbalance, and what imbalance is without and with them."""

    plan: Plan = field(default_factory=Plan)
    before: float = 0.0
    after: float = 0.0
    why: str = ""
    """Why it is as short as it is, or empty."""


class Weight(StrEnum):
    """How bad a fault of a description is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something wrong with a fleet's description: what, why, what to do."""

    weight: Weight
    what: str
    why: str
    todo: str


@dataclass(frozen=True, slots=True)
class Drainable:
    """The audit's answer for one host or one failure domain."""

    label: str
    value: str
    hosts: tuple[str, ...]
    moves: int
    total_s: float
    blackout_s: float
    """The longest of them."""
    staying: Mapping[str, str] = field(default_factory=dict)
    """Empty: it could be emptied now."""


@dataclass(frozen=True)
class Audited:
    """The last nightly audit, as the store has it. failing: those that could not be emptied; of many, the first."""

    at_s: float
    seconds: float
    asked: int
    failed: int
    failing: tuple[Drainable, ...] = ()
