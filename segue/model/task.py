"""Long work of a fleet: what is wanted of it, where it stands. The table of its states; nothing here carries it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from segue.errors import Kind, Refused
from segue.model.migration import Failure

PARALLEL_MOST: Final = 16
"""So many moves at once from a host, and to a host, anybody may ask for."""


class TaskKind(StrEnum):
    """What sort of work it is."""

    CREATE = "create"
    MOVE = "move"
    POWER = "power"
    DRAIN = "drain"
    BALANCE = "balance"
    UPDATE = "update"
    MAINTENANCE = "maintenance"
    VERIFY = "verify"
    RESTART = "restart"


class TaskState(StrEnum):
    """Where it stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    DONE = "done"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Wish(StrEnum):
    """What people ask of a task."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


ENDED: Final = frozenset({TaskState.DONE, TaskState.PARTIAL, TaskState.FAILED, TaskState.CANCELLED})
NEXT: Final[Mapping[tuple[TaskState, Wish], TaskState]] = {
    (TaskState.WAITING, Wish.PAUSE): TaskState.PAUSED,
    (TaskState.RUNNING, Wish.PAUSE): TaskState.PAUSED,
    (TaskState.PAUSED, Wish.PAUSE): TaskState.PAUSED,
    (TaskState.WAITING, Wish.RESUME): TaskState.WAITING,
    (TaskState.RUNNING, Wish.RESUME): TaskState.RUNNING,
    (TaskState.PAUSED, Wish.RESUME): TaskState.RUNNING,
    (TaskState.WAITING, Wish.CANCEL): TaskState.CANCELLING,
    (TaskState.RUNNING, Wish.CANCEL): TaskState.CANCELLING,
    (TaskState.PAUSED, Wish.CANCEL): TaskState.CANCELLING,
    (TaskState.CANCELLING, Wish.CANCEL): TaskState.CANCELLING,
}
PAUSABLE: Final = frozenset({TaskKind.DRAIN, TaskKind.BALANCE, TaskKind.UPDATE, TaskKind.MAINTENANCE})
"""The others have one step; there is nothing between."""


@dataclass(frozen=True)
class Trial:
    """One guest of a task that moves many: where it is sent, by which migration, and what was learnt."""

    guest: str
    target: str = ""
    migration: str = ""
    failures: int = 0
    not_to: tuple[str, ...] = ()
    """Hosts that refused it, or to which it could not be moved."""
    why: str = ""
    retry_s: float = 0.0
    """Wall clock of the leader that wrote it; another one's may differ."""
    known: tuple[str, ...] = ()
    """Its migrations before this one was begun: a leader that finds another one knows what was begun, by no clock."""
    source: str = ""
    """Who had it when it was sent: that one alone can tell how it goes, and may die before it has told anything."""


@dataclass(frozen=True)
class Task:
    """Under `tasks/ID`. `wish`: the request's body. All that a new leader needs to go on is in it."""

    id: str
    kind: TaskKind
    by: str
    created_s: float
    wish: Mapping[str, Any]
    digest: str = ""
    """Of the wish: the same key with another wish is a mistake."""
    state: TaskState = TaskState.WAITING
    note: str = ""
    ended_s: float = 0.0
    host: str = ""
    """Where it is carried out."""
    migration: str = ""
    known: tuple[str, ...] = ()
    """As in a trial."""
    trials: tuple[Trial, ...] = ()
    moved: tuple[str, ...] = ()
    staying: Mapping[str, str] = field(default_factory=dict)
    total: int = 0
    """Guests that had to move when it was last planned, with those that have."""
    failure: Failure | None = None

    @property
    def ended(self) -> bool:
        """True once nothing more will happen."""
        return self.state in ENDED


@dataclass(frozen=True)
class Turn:
    """Which task came last of those that are never under way two at once. It is taken with the task's first entry, so
    that two that are begun in the same moment cannot both be."""

    task: str


def after(task: Task, wish: Wish) -> Task:
    """The task as it is asked to be. Raises Refused where that cannot be."""
    found = NEXT.get((task.state, wish))
    if found is None or (wish is not Wish.CANCEL and task.kind not in PAUSABLE):
        raise Refused(
            what=f"task {task.id[:8]} cannot {wish}",
            why=f"it is a {task.kind} and is {task.state}",
            todo="Look with `segue task show`.",
            kind=Kind.CONFLICT,
        )
    return replace(task, state=found)
