"""One migration: what was asked, what was foreseen, where it stands and what happened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from segue.model.landing import Landing
from segue.model.lifecycle import ENDS, Event, Stage, advance
from segue.model.observation import Observation


@dataclass(frozen=True)
class Limits:
    """The operator's budget. Seconds and bytes per second; 0 for bandwidth means no cap."""

    blackout_s: float = 0.3
    preparation_s: float = 3600.0
    stall_s: float = 10.0
    bandwidth_bytes_per_s: int = 0
    rounds_max: int = 200


@dataclass(frozen=True)
class Progress:
    """One sample of the copy, taken where a round ends."""

    round: int = 0
    total_bytes: int = 0
    remaining_bytes: int = 0
    transferred_bytes: int = 0
    dirty_bytes_per_s: float = 0.0
    link_bytes_per_s: float = 0.0
    elapsed_s: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What is expected before anything is changed; each figure with its range."""

    total_s: float
    total_low_s: float
    total_high_s: float
    blackout_s: float
    blackout_low_s: float
    blackout_high_s: float
    memory_bytes: int
    dirty_bytes_per_s: float
    link_bytes_per_s: float
    converges: bool
    basis: str


@dataclass(frozen=True)
class Outcome:
    """What was measured. Times of the two hosts are made comparable by `clock_offset_s`."""

    blackout_s: float = 0.0
    clock_offset_s: float = 0.0
    clock_uncertainty_s: float = 0.0
    stopped_at_s: float = 0.0
    resumed_at_s: float = 0.0
    preparation_s: float = 0.0
    post_blackout_s: float = 0.0
    total_s: float = 0.0
    rounds: int = 0
    transferred_bytes: int = 0
    outage_s: float = 0.0
    """The longest time without a reply around the blackout, as a client's probe saw it; 0 where none watched."""
    frames_steered: int = 0
    frames_rescued: int = 0
    timeline: tuple[tuple[str, float], ...] = ()
    """Marks inside the blackout: (what, seconds after the guest was asked to stop)."""


@dataclass(frozen=True)
class Failure:
    """An error as it is kept and shown: see segue.errors."""

    consequence: str
    what: str
    why: str
    todo: str


@dataclass(frozen=True)
class Migration:
    """The record of one migration; the source's agent owns it and shows it."""

    id: str
    guest: str
    source: str
    target: str
    limits: Limits
    started_s: float
    stage: Stage = Stage.PREPARATION
    step: str = ""
    ended_s: float = 0.0
    blackout_at_s: float = 0.0
    settling_at_s: float = 0.0
    landing: Landing | None = None
    progress: Progress = field(default_factory=Progress)
    forecast: Forecast | None = None
    outcome: Outcome = field(default_factory=Outcome)
    failure: Failure | None = None
    observations: tuple[Observation, ...] = ()
    wire: int = 1
    """The version that the two agents agreed on before it began: see wire/offer.py."""

    @property
    def ended(self) -> bool:
        """True once nothing more will happen by itself."""
        return self.stage in ENDS


SEEN_AFTER_S = 2.0
"""A client's outage may end this much later than the blackout: a cold guest, a neighbour that learns late."""


def observed(migration: Migration, observation: Observation) -> Migration:
    """The record with what one more client saw, and with the longest outage that any of them had."""
    outcome = migration.outcome
    until_s = outcome.resumed_at_s + SEEN_AFTER_S
    seen_s = observation.longest_gap_s
    if outcome.stopped_at_s and outcome.resumed_at_s:
        seen_s = observation.longest_gap_between(outcome.stopped_at_s, until_s)
    outcome = replace(outcome, outage_s=max(outcome.outage_s, seen_s))
    return replace(migration, outcome=outcome, observations=(*migration.observations, observation))


def after(migration: Migration, event: Event, now_s: float) -> Migration:
    """The record in the stage that follows `event`, with the time of the change noted."""
    stage = advance(migration.stage, event)
    stamps = {Stage.BLACKOUT: "blackout_at_s", Stage.POST_BLACKOUT: "settling_at_s"}
    name = stamps.get(stage, "ended_s")
    return replace(migration, stage=stage, **{name: now_s})  # type: ignore[arg-type]
