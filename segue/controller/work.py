"""What every task needs to be carried out: the fleet as it is, the agents, and its own entry in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import structlog

from segue.adapters import clock
from segue.controller import fleet
from segue.controller.app import Controller
from segue.controller.links import BEGIN_S, HostAway
from segue.controller.mirror import Table
from segue.errors import Kind, Refused, SegueError
from segue.model import trace
from segue.model.leadership import Tenure
from segue.model.lifecycle import Stage
from segue.model.migration import Failure, Migration
from segue.model.task import Task, TaskState

log = structlog.get_logger()
LOOK_S: Final = 1.0


@dataclass(frozen=True)
class Work:
    """One task in one tenure. Whatever is written is fenced: a leader that was replaced writes nothing more."""

    controller: Controller
    tenure: Tenure
    id: str

    @property
    def task(self) -> Task:
        """As it stands in the store."""
        return self.controller.books.known(self.controller.mirror.tasks, self.id).value

    async def save(self, decide: Callable[[Task], Task]) -> Task:
        """Changes it; a task that has ended stays as it is."""
        tasks = self.controller.mirror.tasks

        def unless_ended(task: Task) -> Task:
            return task if task.ended else decide(task)

        return await self.controller.books.change(tasks, self.id, unless_ended, fence=self.tenure.fence)

    async def add(self, table: Table[Any], name: str, value: object) -> None:
        """One more entry; it is no error where it is there already."""
        await self.controller.books.add_once(table, name, value, fence=self.tenure.fence)

    async def note(self, **fields: Any) -> None:
        """Changes some of its fields."""
        await self.save(lambda task: replace(task, **fields))

    async def end(self, state: TaskState, note: str, failure: Failure | None = None, **fields: Any) -> None:
        """The last that is written to it: without what was tried where the store does not take so much."""
        last = {"state": state, "note": note, "failure": failure, "ended_s": clock.wall_s(), **fields}
        try:
            await self.note(**last)
        except Refused as error:
            if error.kind is not Kind.USAGE:
                raise
            log.warning("what a task tried is not kept", task=self.id, why=error.why)
            await self.note(**{**last, "trials": (), "staying": {}})

    async def begin_move(self, guest: str, target: str, limits: dict[str, Any], *, force: bool) -> str:
        """The id of the migration. Raises what the source's agent says against it."""
        wish = {"to": target, "limits": limits, "force": force}
        return await self.begin_at_source(guest, "migrations", wish)

    async def begin_at_source(self, guest: str, path: str, wish: dict[str, Any]) -> str:
        """The id of the migration that the guest's agent begins at that path of its API."""
        source = fleet.guest(self.controller.mirror, guest).host
        traceparent = self.controller.traces.begin(self.task)
        made = await self.controller.links.call(
            source,
            "POST",
            f"/v1/guests/{guest}/{path}",
            wish,
            within_s=BEGIN_S,
            traceparent=traceparent,
        )
        number = str(made["id"])
        words = {"source": source, "target": str(made["target"]), "trace": trace.parse(traceparent).id}
        log.info("a migration was begun", guest=guest, migration=number, **words)
        return number

    async def take_back(self, migration: Migration) -> bool:
        """Cancels it; too late is no error: it ends by itself. False where its source is away: ask again."""
        try:
            await self.controller.links.call(
                migration.source, "POST", f"/v1/migrations/{migration.id}/cancel"
            )
        except HostAway as error:
            log.info("a move is taken back later", guest=migration.guest, why=error.why)
            return False
        except SegueError as error:
            if error.kind is not Kind.CONFLICT:
                raise
        return True

    def migrations_of(self, guest: str) -> tuple[str, ...]:
        """The ids of all that are known."""
        return tuple(m.id for m in self.controller.mirror.migrations.values() if m.guest == guest)

    def begun_beside(self, guest: str, known: tuple[str, ...]) -> str:
        """The id of a migration of that guest that is none of those: a leader before us may not have noted it."""
        return next((number for number in self.migrations_of(guest) if number not in known), "")


def why(migration: Migration) -> str:
    """Why it did not bring the guest to its target."""
    failure = migration.failure
    return f"{failure.what}: {failure.why}" if failure else f"the migration ended as {migration.stage}"


def went_well(migration: Migration) -> bool:
    """True where the guest runs on its target, and all is cleared up."""
    return migration.stage is Stage.DONE


def failure_of(error: SegueError) -> Failure:
    """As it is kept with a task."""
    return Failure(error.consequence, error.what, error.why, error.todo)


def no_host(what: str, reasons: str) -> Refused:
    """Nobody takes the guest."""
    return Refused(
        what=what, why=reasons, todo="Mend what is named here, or choose a host by name.", kind=Kind.POLICY
    )
