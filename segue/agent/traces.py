"""This host's part of each migration's trace: written down while it goes on, told when it is over.

It must never be waited for, and nothing of it is sent while a guest is in its blackout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from segue.adapters import chance, clock, logs
from segue.adapters.spans import Sender
from segue.adapters.store.journal import Journal
from segue.model.handoff import Phase
from segue.model.landing import Placement
from segue.model.migration import Migration
from segue.model.trace import Arriving, Span, Trace, below
from segue.policy import spans

if TYPE_CHECKING:
    from segue.agent.app import Agent
    from segue.agent.guests import Guests
    from segue.agent.keeper import Keeper

log = structlog.get_logger()
LOOK_S: Final = 1.0
WAITING_MOST: Final = 1000
DROPPED: Final = "the copy that came in was dropped: the migration was taken back"


class Traces:
    """Without a `sender` ids are handed on all the same: they are in records and logs."""

    def __init__(self, journal: Journal, sender: Sender | None) -> None:
        self._journal = journal
        self._sender = sender
        self._arriving = {arriving.migration: arriving for arriving in journal.traces.all()}
        self._told: asyncio.Queue[tuple[Trace, Sequence[Span]]] = asyncio.Queue(WAITING_MOST)
        for arriving in self._arriving.values():
            _name_in_logs(arriving)

    def begin(self, header: str) -> Trace:
        """A migration that begins here, below whoever asked for it."""
        return below(header, chance.token(32), chance.token(16))

    def ended(self, migration: Migration) -> None:
        """A migration from here is over; its marks are still in the journal."""
        if self._sender is not None:
            self._tell(migration.trace, spans.of_source(migration, self._journal.timed_marks(migration.id)))

    def taking_in(self, placement: Placement) -> None:
        """A guest begins to come in; asked again, nothing new."""
        if placement.migration in self._arriving or len(self._arriving) >= WAITING_MOST:
            return
        trace = below(placement.traceparent, "", chance.token(16))
        guest, migration = placement.guest, placement.migration
        arriving = Arriving(trace, guest.name, guest.uuid, migration, placement.source, clock.wall_s())
        self._put(arriving)
        _name_in_logs(arriving)
        log.info("a guest comes in", guest=arriving.uuid)

    def taken_in(self, placement: Placement) -> None:
        """There is room for it."""
        arriving = self._arriving.get(placement.migration)
        if arriving is not None and not arriving.placed_s:
            self._put(replace(arriving, placed_s=clock.wall_s()))

    def settled(self, keeper: Keeper, migration: str) -> None:
        """The source needs nothing more."""
        arriving = self._arriving.get(migration)
        if arriving is not None:
            self._conclude(_with_marks(arriving, keeper))

    def _put(self, arriving: Arriving) -> None:
        self._arriving[arriving.migration] = arriving
        self._journal.traces.put(arriving)

    def _conclude(self, arriving: Arriving, fault: str = "") -> None:
        del self._arriving[arriving.migration]
        self._journal.traces.drop(arriving.migration)
        log.info("a guest's copy was dropped" if fault else "a guest has come", guest=arriving.uuid)
        logs.forget((arriving.migration, arriving.guest, arriving.uuid))
        self._tell(arriving.trace, spans.of_target(arriving, clock.wall_s(), fault))

    def _tell(self, trace: Trace, told: Sequence[Span]) -> None:
        if self._sender is None or not trace.id:
            return
        if self._told.full():
            self._told.get_nowait()
        self._told.put_nowait((trace, told))

    async def keep(self, agent: Agent) -> None:
        """For as long as the agent lives."""
        from segue.agent import figures

        while True:
            self._look_after(agent.guests)
            while self._sender is not None and not self._told.empty():
                await figures.calm(agent)
                self._sender.send(*self._told.get_nowait())
            await asyncio.sleep(LOOK_S)

    def _look_after(self, guests: Guests) -> None:
        """What became of those that come in; they are few, and the journal's words about them are in memory."""
        for arriving in list(self._arriving.values()):
            keeper = guests.by_uuid(arriving.uuid)
            token = keeper.token
            if token.phase is Phase.ABSENT or token.migration != arriving.migration:
                moved_on = bool(arriving.marks)
                self._conclude(arriving, "" if moved_on else DROPPED)
            elif token.phase is Phase.OWNER and (more := _with_marks(arriving, keeper)) != arriving:
                self._put(more)


def _name_in_logs(arriving: Arriving) -> None:
    """Lines about it bear the migration and the trace until it is here, or dropped."""
    keys = (arriving.migration, arriving.guest, arriving.uuid)
    words = {"guest": arriving.guest, "migration": arriving.migration, "trace": arriving.trace.id}
    logs.note(keys, **words, source=arriving.source)


def _with_marks(arriving: Arriving, keeper: Keeper) -> Arriving:
    """With what the keeper knows of how it came to run, if that was this time."""
    marks = keeper.resumed
    if arriving.marks or not marks or marks[0][1] < arriving.began_s:
        return arriving
    return replace(arriving, marks=marks)
