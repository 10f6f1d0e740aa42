"""The lease by which a host may run guests that others may take over. Only nouns; the rules are policy/lease.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Terms:
    """lease_s: a guest may run for so long after its host asked the others. watchdog_s: the machine is reset when
    nobody has fed its watchdog for so long."""

    lease_s: float
    watchdog_s: float


@dataclass(frozen=True)
class LeaseFacts:
    """What a host tells of its own lease. number: of the charter that it goes by; 0 for none.

    wanted: its agent.toml asks for a lease. ready: its guard has a watchdog. why: if it has not.
    """

    wanted: bool
    ready: bool
    terms: Terms
    number: int = 0
    lives: bool = False
    """A majority has granted it, and it is not over."""
    why: str = ""
    apps: bool = False
    """Its applications are under its guard, too. An agent that does not know of that says nothing."""


@dataclass(frozen=True)
class Charter:
    """Who grants a host its lease: under `charters/HOST`. Written before the host is told.

    before: sets of voters, and terms, that it may still go by. held: it has said once that it goes by one: from then on
    its guests are under its guard, until it was told to drop it, which is after this record is gone. epoch: of the
    leader to whom it has said so last. apps: it said then that its applications are, too.
    """

    host: str
    number: int
    voters: tuple[str, ...]
    terms: Terms
    before: tuple[tuple[tuple[str, ...], Terms], ...] = ()
    held: bool = False
    epoch: int = 0
    apps: bool = False

    @property
    def every(self) -> tuple[tuple[tuple[str, ...], Terms], ...]:
        """All that it may go by."""
        return ((self.voters, self.terms), *self.before)


@dataclass(frozen=True)
class HeldCharter:
    """What the host itself keeps of it. Whoever finds one in a journal runs no guest without a lease."""

    number: int
    voters: tuple[str, ...]
    terms: Terms
    watchdog: str
    """The device."""


@dataclass(frozen=True)
class Watched:
    """A guard's memory. Times by CLOCK_BOOTTIME of its host. over: the lease has run out; nothing is admitted until
    somebody has seen to it that nothing of the old guests is left."""

    deadline_s: float = 0.0
    over: bool = True


@dataclass(frozen=True)
class Deeds:
    """What a guard does after one look."""

    kill: bool
    feed: bool
    """The machine's watchdog."""


@dataclass(frozen=True)
class Denials:
    """Hosts to which this one grants no lease: host -> the incident for which a controller asked for that."""

    of: Mapping[str, str] = field(default_factory=dict)
