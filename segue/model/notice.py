"""What a guest is told of its own migration, who in it wants to be told, and who has answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from segue.model.guest_clock import ClockStep


class Maintenance(StrEnum):
    """The word for programs that know it from the public clouds."""

    NONE = "NONE"
    MIGRATE = "MIGRATE_ON_HOST_MAINTENANCE"


class NoticeState(StrEnum):
    """Where the migration stands, as its guest may know it."""

    NONE = "none"
    PENDING = "pending"
    ENDED = "ended"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class Subscription:
    """A program in the guest that wants `lead_s` seconds before its guest is moved."""

    name: str
    lead_s: float


@dataclass(frozen=True)
class Board:
    """All of it for one guest; kept in the journal, and it moves with the guest."""

    state: NoticeState = NoticeState.NONE
    migration: str = ""
    begins_at_s: float = 0.0
    subscriptions: tuple[Subscription, ...] = ()
    ready: tuple[str, ...] = ()
    cared: str = ""
    """The migration after which this host put the guest's clock forward: it must not happen twice."""

    @property
    def event(self) -> Maintenance:
        """What stands in the guest's mailbox."""
        return Maintenance.MIGRATE if self.state is NoticeState.PENDING else Maintenance.NONE

    @property
    def etag(self) -> str:
        """Another one whenever the guest should look again."""
        return f"{self.migration[:13] or '0'}-{self.state}"

    @property
    def unanswered(self) -> tuple[str, ...]:
        """Who is still waited for."""
        return tuple(one.name for one in self.subscriptions if one.name not in self.ready)


@dataclass(frozen=True)
class Arrival:
    """The source's word to the target once the guest runs there: how long it stood, and what it was told."""

    migration: str
    blackout_s: float
    board: Board = field(default_factory=Board)


@dataclass(frozen=True)
class Care:
    """What the target has done for the guest since; `done` is false while it goes on."""

    done: bool = True
    clock: ClockStep = field(default_factory=ClockStep)
