"""One migration: what was asked, what was foreseen, where it stands and what happened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from segue.model.guest_clock import ClockStep
from segue.model.integrity import Verification, Verify
from segue.model.ladder import LADDERS, OverBudget, Rung, Shape
from segue.model.landing import Landing
from segue.model.lifecycle import ENDS, Event, Stage, advance
from segue.model.observation import Observation
from segue.model.storage import DiskCopy, DiskProgress
from segue.model.trace import Trace


@dataclass(frozen=True)
class Limits:
    """The operator's budget, and what may be done to keep it. Seconds, bytes per second, shares of 1."""

    blackout_s: float = 0.3
    blackout_said: bool = False
    """The operator named it: it holds for an application, too, whose own usual one is longer (policy/budgets.py)."""
    deadline_s: float = 3600.0
    """From the beginning until the guest runs on the target; by then it does, or the migration is aborted."""
    stall_s: float = 10.0
    """Nothing at all arrived for this long: the path is dead, not slow."""
    bandwidth_bytes_per_s: int = 0
    """Cap for the copy while the guest runs; 0 means none."""
    rounds_max: int = 2000
    slowdown_max: float = 0.5
    """The most that the guest's processors may be throttled: 0.5 leaves them half of their time."""
    over_budget: OverBudget = OverBudget.ABORT
    ladder: tuple[Rung, ...] = LADDERS["balanced"]
    verify: Verify = Verify.SAMPLE
    storage_postcopy: bool = False
    """The guest runs on the target first, and its disks follow: for a host that must be left now."""
    notice_s: float = 0.0
    """What a guest that registered is given to get ready; 0: as long as it asked for, up to the host's limit."""
    post_copy_after: int = -1
    """The guest moves first, and the rest of its memory after it, once that many rounds are over; -1: not so."""
    on_demand: bool = False
    """Of an application, which post-copy is made by (policy/budgets.py): all its memory goes before it, and is put in
    place on the target once it runs there."""

    @property
    def goes_first(self) -> bool:
        """True where the guest was asked to run there before all of its memory."""
        return self.post_copy_after >= 0

    @property
    def post_copy(self) -> bool:
        """True where the guest may have to run before all of its memory is there: both QEMUs must know before."""
        return self.goes_first or Rung.POST_COPY in self.ladder


@dataclass(frozen=True)
class Progress:
    """One sample of the copy, taken where a round ends, and what was made of it."""

    round: int = 0
    total_bytes: int = 0
    remaining_bytes: int = 0
    transferred_bytes: int = 0
    """As they went over the link, compressed or not."""
    copied_bytes: int = 0
    """Of the guest's own, before they were compressed; a page of zeros is none. What is dirty is counted so, too."""
    dirty_bytes_per_s: float = 0.0
    link_bytes_per_s: float = 0.0
    """What the path takes of such bytes of the guest's own."""
    elapsed_s: float = 0.0
    slowdown: float = 0.0
    """By how much the guest's processors are throttled now, as a share of 1."""
    rung: Rung = Rung.WAIT
    blackout_estimate_s: float = 0.0
    """The pause if the guest were stopped now."""
    reason: str = ""
    """Why it goes on as it does."""


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
    path_bytes_per_s: float = 0.0
    """The path without the operator's cap, as the probe saw it."""
    copy_s: float = 0.0
    """The rounds alone, before what earlier migrations taught is applied."""
    rest_s: float = 0.0
    """The part of the blackout in which memory is sent."""
    disk_bytes: int = 0
    """What the disks hold that only the source has, and the files below them that the target lacks."""

    @property
    def disks_s(self) -> float:
        """Of `total_s`, what these disks take."""
        return self.disk_bytes / self.link_bytes_per_s if self.disk_bytes else 0.0


@dataclass(frozen=True)
class Outcome:
    """What was measured. Times of the two hosts are made comparable by `clock_offset_s`."""

    blackout_s: float = 0.0
    clock_offset_s: float = 0.0
    clock_uncertainty_s: float = 0.0
    stopped_at_s: float = 0.0
    resumed_at_s: float = 0.0
    preparation_s: float = 0.0
    copy_s: float = 0.0
    """The rounds alone: from the beginning of the copy to the decision to stop the guest."""
    post_blackout_s: float = 0.0
    total_s: float = 0.0
    rounds: int = 0
    transferred_bytes: int = 0
    slowdown_max: float = 0.0
    """The most that the guest was throttled."""
    brownout_s: float = 0.0
    """Processor time that the throttle took from the guest, in seconds of the whole guest."""
    outage_s: float = 0.0
    """The longest time without a reply around the blackout, as a client's probe saw it; 0 where none watched."""
    frames_steered: int = 0
    frames_rescued: int = 0
    serving_s: float = 0.0
    """post-copy: how long the guest ran before all of its memory was there."""
    page_wait_s: float = 0.0
    """post-copy: how long its processors stood and waited for pages in that time, as the target's QEMU counts it."""
    pages_asked: int = 0
    """post-copy: the pages that they waited for."""
    path_breaks: int = 0
    """post-copy: how often the path was broken and mended."""
    timeline: tuple[tuple[str, float], ...] = ()
    """Marks inside the blackout: (what, seconds after the guest was asked to stop)."""
    verification: Verification = field(default_factory=Verification)
    clock: ClockStep = field(default_factory=ClockStep)


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
    waiting: str = ""
    """What the step waits for, in words; empty while it works."""
    ended_s: float = 0.0
    blackout_at_s: float = 0.0
    settling_at_s: float = 0.0
    landing: Landing | None = None
    copies: tuple[DiskCopy, ...] = ()
    """Disks that have to be brought to the target."""
    disks: DiskProgress = field(default_factory=DiskProgress)
    shape: Shape = field(default_factory=Shape)
    post_copy: bool = False
    """The guest was moved before all of its memory: its source must live until the target has the rest."""
    progress: Progress = field(default_factory=Progress)
    forecast: Forecast | None = None
    outcome: Outcome = field(default_factory=Outcome)
    failure: Failure | None = None
    observations: tuple[Observation, ...] = ()
    wire: int = 1
    """The version that the two agents agreed on before it began: see wire/offer.py."""
    application: bool = False
    """What moves is an application, by CRIU: its times teach nothing about machines."""
    cold: bool = False
    """What moves does not run: it crashed, and is started on the target from its disks."""
    trace: Trace = field(default_factory=Trace)
    """Its span, below that of whoever asked for it."""

    @property
    def copied_before(self) -> bool:
        """True where disks are brought before the guest runs on the target."""
        return bool(self.copies) and not self.limits.storage_postcopy

    @property
    def in_place(self) -> bool:
        """True where the guest stays on its host and gets another QEMU there."""
        return self.source == self.target

    @property
    def undone(self) -> str:
        """What did not come about: the first sentence of an error."""
        return f"{self.guest} {'did not get another QEMU' if self.in_place else 'was not moved'}"

    @property
    def ended(self) -> bool:
        """True once nothing more will happen by itself."""
        return self.stage in ENDS


SEEN_AFTER_S = 2.0
"""A client's outage may end this much later than the blackout: a cold guest, a neighbour that learns late."""


def seen_s(migration: Migration, observation: Observation) -> float:
    """The longest time without a reply that this client had around the blackout."""
    outcome = migration.outcome
    if not (outcome.stopped_at_s and outcome.resumed_at_s):
        return observation.longest_gap_s
    return observation.longest_gap_between(outcome.stopped_at_s, outcome.resumed_at_s + SEEN_AFTER_S)


def observed(migration: Migration, observation: Observation) -> Migration:
    """The record with what one more client saw, and with the longest outage that any of them had."""
    outcome = migration.outcome
    outcome = replace(outcome, outage_s=max(outcome.outage_s, seen_s(migration, observation)))
    return replace(migration, outcome=outcome, observations=(*migration.observations, observation))


def after(migration: Migration, event: Event, now_s: float) -> Migration:
    """The record in the stage that follows `event`, with the time of the change noted."""
    stage = advance(migration.stage, event)
    stamps = {Stage.BLACKOUT: "blackout_at_s", Stage.POST_BLACKOUT: "settling_at_s"}
    name = stamps.get(stage, "ended_s")
    return replace(migration, stage=stage, **{name: now_s})  # type: ignore[arg-type]
