"""A maintenance: which hosts, when, how many at once, and the steps on each; and how far each host has come.

Plain nouns and the table of steps; nothing here decides or carries out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from segue.model.job import Inventory
from segue.model.migration import Limits


class StepKind(StrEnum):
    """What is done with a host."""

    CORDON = "cordon"
    DRAIN = "drain"
    RUN = "run"
    UPDATE = "update-guests"
    REBOOT = "reboot"
    POWER_CYCLE = "power-cycle"
    FIRMWARE = "firmware"
    HEALTH = "health"
    VERIFY = "verify"
    UNCORDON = "uncordon"
    RETURN = "return"


TAKES_S: Final[Mapping[StepKind, float]] = {
    StepKind.CORDON: 1.0,
    StepKind.DRAIN: 0.0,  # planned: what moves
    StepKind.RUN: 300.0,
    StepKind.UPDATE: 30.0,
    StepKind.REBOOT: 300.0,
    StepKind.POWER_CYCLE: 360.0,
    StepKind.FIRMWARE: 900.0,
    StepKind.HEALTH: 30.0,
    StepKind.VERIFY: 5.0,
    StepKind.UNCORDON: 1.0,
    StepKind.RETURN: 0.0,
}
"""What is foreseen for a step of which nobody said anything and that no host has done yet."""
WITHIN_S: Final[Mapping[StepKind, float]] = {
    StepKind.CORDON: 60.0,
    StepKind.DRAIN: 3600.0,
    StepKind.RUN: 1800.0,
    StepKind.UPDATE: 3600.0,
    StepKind.REBOOT: 1200.0,
    StepKind.POWER_CYCLE: 1200.0,
    StepKind.FIRMWARE: 5400.0,
    StepKind.HEALTH: 600.0,
    StepKind.VERIFY: 120.0,
    StepKind.UNCORDON: 60.0,
    StepKind.RETURN: 3600.0,
}
"""A step that takes longer has failed. XCP-ng waits 20 minutes for a host to come back."""
ENDS_S: Final = 30.0
"""By then the agent has told of a command whose time is over: it is asked to end, and ended ten seconds later."""
BY_COMMAND: Final = frozenset({StepKind.RUN, StepKind.REBOOT})
"""Done by the host's agent, as root."""
BY_BMC: Final = frozenset({StepKind.POWER_CYCLE, StepKind.FIRMWARE})
"""Done by the controller, through the host's BMC."""
CHANGING: Final = BY_COMMAND | BY_BMC | {StepKind.UPDATE, StepKind.VERIFY, StepKind.HEALTH}
"""Passed over on a host that said that there is nothing to do."""


@dataclass(frozen=True)
class Step:
    """One step of a procedure. Zero seconds: as in the tables above."""

    kind: StepKind
    script: str = ""
    """run: for /bin/sh -e."""
    name: str = ""
    within_s: float = 0.0
    takes_s: float = 0.0
    retries: int = 0
    """run: so often it is begun again after it failed."""
    when_wanted: bool = False
    """drain, reboot, power-cycle: only where the host's system wants a reboot."""
    graceful_s: float = 120.0
    """power-cycle, firmware: so long the host's system has to shut down, before its power is taken away."""
    image: str = ""
    """firmware: the URL from which the BMC fetches it."""
    file: str = ""
    """firmware: the image on the controllers' hosts, which is pushed to a BMC that takes it."""
    sha256: str = ""
    """Of that file, when it was planned: no other one is pushed."""
    target: str = ""
    """firmware: the part, as the BMC's list of firmware has it; empty: the BIOS."""
    burn_s: float = 0.0
    """verify: so long a burn-in guest runs, moves away, and comes back; 0: none."""
    version: str = ""
    """firmware: what the part must have then; a host that has it already is passed over."""

    @property
    def limit_s(self) -> float:
        """Longer than this it may not take."""
        return self.within_s or WITHIN_S[self.kind]

    @property
    def whole_s(self) -> float:
        """Longer than this it may not take with all its tries; a command that is late takes a while to end."""
        tries = 1 + self.retries
        return tries * (self.limit_s + ENDS_S) if self.kind is StepKind.RUN else self.limit_s

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True)
class Scope:
    """Which hosts: by name, by labels, or all of one failure domain."""

    hosts: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    value: str = ""
    """The domain `label=value`: no guest may land in it until all of it is done."""


@dataclass(frozen=True)
class Window:
    """Seconds since 1970; 0: open on that side."""

    begins_s: float = 0.0
    ends_s: float = 0.0


@dataclass(frozen=True)
class Alerts:
    """No host begins while this query of Prometheus gives anything, or nobody answers it."""

    prometheus: str = ""
    query: str = 'ALERTS{alertstate="firing"}'


@dataclass(frozen=True)
class Strategy:
    """How careful."""

    at_once: int = 1
    """Hosts; 0: as many as there is room for."""
    per_domain: Mapping[str, int] = field(default_factory=dict)
    """Label -> so many hosts at once that have the same value of it."""
    moves_per: Mapping[str, int] = field(default_factory=dict)
    """Label of guests -> so many moves at once of guests that have the same value of it."""
    canary: int = 0
    """So many hosts come first, and the others only after `bake_s`."""
    bake_s: float = 0.0
    alerts: Alerts = field(default_factory=Alerts)
    failures: int = 1
    """After so many hosts have failed no other one begins; 0: whatever fails."""
    parallel: int = 4
    """Moves at once from each host, and to each."""
    limits: Limits = field(default_factory=Limits)
    force: bool = False


@dataclass(frozen=True)
class Order:
    """What people write."""

    name: str
    scope: Scope
    procedure: tuple[Step, ...]
    window: Window = field(default_factory=Window)
    strategy: Strategy = field(default_factory=Strategy)
    title: str = ""


@dataclass(frozen=True)
class Maintenance:
    """Under `maintenances/NAME`."""

    order: Order
    by: str
    created_s: float
    task: str = ""
    """The task that carries it out; empty before it was begun."""
    hosts: tuple[str, ...] = ()
    """In their order, as they were in its scope when it was begun."""


class HostState(StrEnum):
    """How far a host has come."""

    WAITING = "waiting"
    WORKING = "working"
    DONE = "done"
    SKIPPED = "skipped"
    """It had nothing to do."""
    FAILED = "failed"
    ABORTED = "aborted"


OVER: Final = frozenset({HostState.DONE, HostState.SKIPPED, HostState.FAILED, HostState.ABORTED})
AWAY: Final = frozenset({HostState.WORKING, HostState.FAILED, HostState.ABORTED})
"""Hosts that nobody may count on; those that failed stay cordoned."""


@dataclass(frozen=True)
class Passed:
    """A step that is over on a host."""

    step: int
    title: str
    begun_s: float
    ended_s: float
    ok: bool
    note: str = ""
    job: str = ""
    """The agent's number of the command."""
    output: str = ""


@dataclass(frozen=True)
class Outage:
    """What one move in a maintenance cost the guest, as measured."""

    guest: str
    source: str
    target: str
    migration: str
    blackout_s: float
    outage_s: float = 0.0
    """The longest a client had no reply; 0 where no probe watched."""


@dataclass(frozen=True)
class HostWork:
    """One host in one maintenance: under `maintenance-hosts/NAME/HOST`. All that a new leader needs is in it."""

    host: str
    state: HostState = HostState.WAITING
    step: int = 0
    attempt: int = 0
    begun_s: float = 0.0
    ended_s: float = 0.0
    step_begun_s: float = 0.0
    acting: bool = False
    """A command or a reboot has been asked for: from here on nobody knows the host without looking."""
    skipping: bool = False
    boot: str = ""
    """The boot of the host that a power-cycle is to end."""
    rising: bool = False
    """In a power-cycle the host was off, and its power has been given back: it is not taken again."""
    flash: str = ""
    """The BMC's task that brings another firmware."""
    old_version: str = ""
    """Of that firmware, before."""
    progress: str = ""
    """Of the step that is under way, for people."""
    wanted: bool = False
    """Its system wanted a reboot when that was asked for its drain."""
    why: str = ""
    noted: bool = False
    """What follows was written down; whoever leads next must not look again: it may be cordoned by us by then."""
    home: tuple[str, ...] = ()
    """Guests that ran there when it was cordoned."""
    was_cordoned: bool = False
    before: Inventory | None = None
    after: Inventory | None = None
    passed: tuple[Passed, ...] = ()
    outages: tuple[Outage, ...] = ()
    changes: tuple[str, ...] = ()
    """What is different after it, in words."""

    @property
    def over(self) -> bool:
        """True once nothing more will happen to it in this maintenance."""
        return self.state in OVER


@dataclass(frozen=True)
class Batch:
    """Hosts that are worked on at once, as it is foreseen; seconds from the beginning of the maintenance."""

    hosts: tuple[str, ...]
    begins_s: float
    ends_s: float
    moves: int
    moves_s: float
    blackout_s: float
    """The longest of its moves."""
    twice: tuple[str, ...] = ()
    """Guests that go to a host whose turn is next: nothing else has room, and they move again."""
    guests: tuple[str, ...] = ()
    """Those that move."""


@dataclass(frozen=True)
class Foreseen:
    """What a maintenance would do. `missing`: why it cannot be done as ordered; empty: it can."""

    batches: tuple[Batch, ...] = ()
    begins_s: float = 0.0
    """Since 1970, as is `ends_s`."""
    ends_s: float = 0.0
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
