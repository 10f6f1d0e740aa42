"""What the balancer is told, and what it remembers between two looks. Figures only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each kind of imbalance counts. Imbalance: the standard deviation of hosts' shares, summed with these."""

    memory: float = 1.0
    vcpus: float = 0.5
    cpu_load: float = 1.0
    network_load: float = 0.5


@dataclass(frozen=True, slots=True)
class Prices:
    """What a move costs, in shares of a host: a move has to be worth it."""

    per_s: float = 0.0001
    """Each second of a migration: its bytes and its processor time."""
    per_blackout_s: float = 0.02
    per_importance: float = 0.1
    """Each step of importance makes all of it dearer by this share."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one guest may be disturbed in a day, by the balancer."""

    moves_per_day: int = 4
    blackout_s_per_day: float = 2.0


@dataclass(frozen=True, slots=True)
class BalanceSettings:
    """The operator's choices; every default is the balancer's own."""

    weights: Weights = field(default_factory=Weights)
    prices: Prices = field(default_factory=Prices)
    budget: Budget = field(default_factory=Budget)
    start_at: float = 0.10
    """Imbalance at which it begins to act, and"""
    stop_at: float = 0.05
    """at which it stops. Between the two it goes on with what it does."""
    hot_share: float = 0.90
    """A host that uses more of its memory or processors than this is reason enough to act."""
    looks: int = 3
    """It acts when so many looks in a row found a reason."""
    margin: float = 1.5
    """A move's gain is at least this many times its cost; more where plans proved wrong: `margin` of policy/temper."""
    gain_least: float = 0.002
    """And never less than this, in shares of a host."""
    moves_most: int = 20
    """In one plan."""
    cooldown_s: float = 1800.0
    """A guest that was moved is left alone for so long, whoever moved it."""
    cpu_load_most: float = 0.85
    """A target is not loaded beyond this share of its processors."""


@dataclass(frozen=True, slots=True)
class PastMove:
    """A move of a guest that is over, whoever wanted it."""

    ended_s: float
    blackout_s: float


@dataclass(frozen=True, slots=True)
class Booking:
    """What a move was to bring and what it brought, in shares of a host."""

    guest: str
    source: str
    target: str
    planned: float
    realised: float | None = None
    """None until it was looked at; a guest that is elsewhere by then is never looked at."""


@dataclass(frozen=True, slots=True)
class Temper:
    """What the balancer remembers. Seconds are those of one clock, whichever."""

    found: int = 0
    """Looks in a row that found a reason to act."""
    acting: bool = False
    past: Mapping[str, tuple[PastMove, ...]] = field(default_factory=dict)
    bookings: tuple[Booking, ...] = ()


class Mode(StrEnum):
    """What the balancer does by itself."""

    OFF = "off"
    ADVISE = "advise"
    AUTO = "auto"


@dataclass(frozen=True, slots=True)
class BalanceOrders:
    """What people decided of the balancer: under `balance/orders`."""

    mode: Mode = Mode.ADVISE
    settings: BalanceSettings = field(default_factory=BalanceSettings)
    parallel: int = 2
    """Moves at once from each host, and to each host."""
    blackout_s: float = 0.3
    """The budget of each move."""
    look_s: float = 60.0
    """It looks so often, and"""
    realise_after_s: float = 600.0
    """at what a move brought so long after it."""


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """One move of a plan that is to be carried out as it was shown."""

    guest: str
    source: str
    target: str
    wave: int
    planned: float
    """Its gain."""
    cost: float
    why: str

    @property
    def mends(self) -> bool:
        """It puts right what must not be, whatever it gains."""
        return self.why.startswith(MENDS)


MENDS: Final = "mends: "
"""How the reason of a move begins that need not gain anything."""


@dataclass(frozen=True, slots=True)
class BookedMove:
    """What one move of the balancer was to bring, what it cost, what it brought: under `bookings/`."""

    task: str
    guest: str
    source: str
    target: str
    planned: float
    cost: float
    why: str
    ended_s: float
    blackout_s: float
    total_s: float
    realised: float | None = None
    """None until it was looked at; for a guest that was elsewhere by then, for ever."""
    looked_s: float = 0.0


@dataclass(frozen=True, slots=True)
class BalanceState:
    """What the leader saw at its last look, and what the next one needs of it: under `balance/state`."""

    looked_s: float = 0.0
    found: int = 0
    acting: bool = False
    imbalance: float = 0.0
    after: float = 0.0
    """With the moves below."""
    margin: float = 0.0
    why: str = ""
    """Why nothing is done, or not more."""
    moves: tuple[PlannedMove, ...] = ()
    staying: Mapping[str, str] = field(default_factory=dict)
    """Guests that ought to move and cannot."""
