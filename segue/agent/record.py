"""The record of one migration: written durably where it matters, shown at once to whoever watches."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import structlog

from segue.adapters import clock
from segue.adapters.store.journal import Journal
from segue.agent.notices import Notices
from segue.errors import Aborted, InDoubt, SegueError
from segue.model.landing import Landing
from segue.model.lifecycle import Event
from segue.model.migration import Failure, Forecast, Migration, Outcome, Progress, after, observed
from segue.model.observation import Observation
from segue.model.storage import DiskProgress

log = structlog.get_logger()

NOTE_S = 0.1
"""Longer than a blackout, as a rule."""


class MigrationRecord:
    """Engine port `Record`."""

    def __init__(self, journal: Journal, notices: Notices, migration: Migration) -> None:
        self._journal = journal
        self._notices = notices
        self._now = migration

    @property
    def now(self) -> Migration:
        """See engine/ports.py."""
        return self._now

    def advance(self, event: Event) -> None:
        """See engine/ports.py."""
        self._forget_doubt()
        self._keep(after(self._now, event, clock.wall_s()))
        log.info("migration", migration=self._now.id, guest=self._now.guest, stage=self._now.stage)

    def at_step(self, step: str) -> None:
        """See engine/ports.py."""
        self._now = replace(self._now, step=step)
        self._show()

    def progress(self, progress: Progress) -> None:
        """See engine/ports.py."""
        self._now = replace(self._now, progress=progress)
        self._show()

    def waiting(self, what: str) -> None:
        """See engine/ports.py."""
        if what != self._now.waiting:
            self._now = replace(self._now, waiting=what)
            self._show()

    def disks(self, progress: DiskProgress) -> None:
        """See engine/ports.py."""
        self._now = replace(self._now, disks=progress)
        self._show()

    def goes_before_its_memory(self) -> None:
        """See engine/ports.py."""
        self._keep(replace(self._now, post_copy=True))

    def landing(self, landing: Landing) -> None:
        """See engine/ports.py."""
        self._keep(replace(self._now, landing=landing))

    def outcome(self, outcome: Outcome) -> None:
        """See engine/ports.py."""
        self._keep(replace(self._now, outcome=outcome))

    def remember(self, outcome: Outcome) -> None:
        """See engine/ports.py."""
        self._now = replace(self._now, outcome=outcome)
        # The guest stands, and figures can wait. An agent that dies before loses them, and nothing else.
        asyncio.get_running_loop().call_later(NOTE_S, self._note)

    def _note(self) -> None:
        self._journal.note_migration(self._now)

    def failed(self, error: Exception) -> None:
        """See engine/ports.py."""
        self._keep(replace(self._now, failure=_failure(error, self._now)))

    def doubt(self, target: str) -> None:
        """Tells people, once, that the guest stands still; it goes on by itself as soon as it can."""
        if self._now.failure is None:
            self.failed(_in_doubt(self._now, target))

    def _forget_doubt(self) -> None:
        """Whatever comes next shows that the answer came after all."""
        if self._now.failure is not None and self._now.failure.consequence == InDoubt.consequence:
            self._now = replace(self._now, failure=None)

    def foreseen(self, forecast: Forecast) -> None:
        """Kept beside what then happens."""
        self._keep(replace(self._now, forecast=forecast))

    def observe(self, observation: Observation) -> None:
        """What a client saw."""
        self._keep(observed(self._now, observation))

    def _keep(self, migration: Migration) -> None:
        self._now = migration
        self._journal.put_migration(migration)
        self._show()

    def _show(self) -> None:
        self._notices.tell("migration", self._now.id, self._now)


def _failure(error: Exception, migration: Migration) -> Failure:
    if isinstance(error, SegueError):
        # What a peer refused after we began was undone here: for the operator the migration is aborted.
        consequence = Aborted.consequence if error.consequence == "refused" else error.consequence
        return Failure(consequence, error.what, error.why, error.todo)
    return Failure(
        Aborted.consequence,
        migration.undone,
        f"{error}" or type(error).__name__,
        f"The guest {'is still' if migration.cold else 'runs'} on {migration.source}. "
        "Look at both agents' logs, then try again.",
    )


def _in_doubt(migration: Migration, target: str) -> InDoubt:
    return InDoubt(
        what=f"{migration.guest} runs on {target} or nowhere",
        why=f"{migration.source} gave it to {target}, and {target} has not answered since",
        todo=f"Mend the link or the agent on {target}: it then goes on by itself. If {target} is lost, power it off "
        f"and say so on {migration.source}: `segue vm recover {migration.guest} --fenced {target}`.",
    )
