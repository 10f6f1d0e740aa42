"""The fleet's store in memory, under the same contract as the real ones. It must never outlive its process."""

from __future__ import annotations

import asyncio
import bisect
from collections.abc import AsyncGenerator
from contextvars import Context
from typing import Final

from segue.adapters import chance
from segue.model import store as nouns
from segue.model.store import (
    Away,
    Batch,
    Change,
    Commit,
    Compacted,
    Conflict,
    Entry,
    Event,
    Fence,
    Fenced,
    Lease,
    LeaseGone,
    OutcomeUnknown,
    Page,
)

PAGE: Final = 2000
KEEP_EVENTS: Final = 20_000


class Shelf:
    """What is in it, for all clients. To be made inside the event loop that uses it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.revision = 0
        self.compacted = 0
        self.entries: dict[str, Entry] = {}
        self.events: list[Event] = []
        self._done: dict[str, int] = {}
        """Tag -> revision, as far as events are kept."""
        self.leases: dict[int, tuple[float, float]] = {}
        """Lease -> (its time, when it ends)."""
        self.news = asyncio.Event()

    def apply(self, commit: Commit) -> int:
        """Its revision. Raises Fenced, Conflict, LeaseGone before anything is changed."""
        self.end_due()
        if done := self._done.get(commit.tag, 0):
            return done
        self._demand(commit)
        self.revision += 1
        for change in commit.changes:
            entry = None
            if change.value is not None:
                entry = Entry(change.key, change.value, self.revision, change.lease, commit.tag)
            self._put(change.key, entry)
            if entry is not None:
                self._done[commit.tag] = self.revision
        self._tell()
        return self.revision

    def _demand(self, commit: Commit) -> None:
        if (fence := commit.fence) is not None:
            held = self.entries.get(fence.key)
            if held is None or held.revision != fence.revision:
                raise Fenced(fence)
        for change in commit.changes:
            current = self.entries.get(change.key)
            if (current.revision if current else 0) != change.revision:
                raise Conflict(change.key, current)
            if change.lease and change.value is not None and change.lease not in self.leases:
                raise LeaseGone(change.lease)

    def _put(self, key: str, entry: Entry | None) -> None:
        if entry is None:
            self.entries.pop(key, None)
        else:
            self.entries[key] = entry
        self.events.append(Event(key, self.revision, entry))

    def _tell(self) -> None:
        if len(self.events) > KEEP_EVENTS:
            self.compact(self.events[-KEEP_EVENTS // 2].revision - 1)
        news, self.news = self.news, asyncio.Event()
        news.set()

    def compact(self, upto: int) -> None:
        """Forgets what happened up to that revision."""
        self.compacted = max(self.compacted, min(upto, self.revision))
        self.events = [event for event in self.events if event.revision > self.compacted]
        self._done = {tag: number for tag, number in self._done.items() if number > self.compacted}

    def since(self, prefix: str, after: int) -> Batch:
        """What happened after that. Raises Compacted."""
        self.end_due()
        if after > self.revision:
            raise Compacted(after, f"this store is at revision {self.revision} and was never there")
        if after < self.compacted:
            raise Compacted(after, f"what happened before revision {self.compacted} is not kept")
        first = bisect.bisect_right(self.events, after, key=lambda event: event.revision)
        found = tuple(event for event in self.events[first:] if event.key.startswith(prefix))
        return Batch(self.revision, found)

    def prolong(self, lease: Lease) -> None:
        """It lasts its whole time from now. Raises LeaseGone."""
        self.end_due()
        if lease.id not in self.leases:
            raise LeaseGone(lease.id)
        self.grant(lease)

    def grant(self, lease: Lease) -> None:
        """It begins, or begins again."""
        ends_s = self._loop.time() + lease.ttl_s
        self.leases[lease.id] = (lease.ttl_s, ends_s)
        # Nobody's: it ends although whoever took it was killed.
        self._loop.call_at(ends_s + 0.01, self.end_due, context=Context())

    def end_due(self) -> None:
        """Leases whose time is over, and their keys."""
        for lease in [one for one, (_, ends_s) in self.leases.items() if ends_s <= self._loop.time()]:
            self.end(lease)

    def end(self, lease: int) -> None:
        """Now. Safe to repeat."""
        if self.leases.pop(lease, None) is None:
            return
        keys = [key for key, entry in self.entries.items() if entry.lease == lease]
        if keys:
            self.revision += 1
            for key in keys:
                self._put(key, None)
            self._tell()


class MemoryStore:
    """Port `Store`: one client of a shelf."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._closed = False

    async def get(self, key: str) -> Entry | None:
        """See the port."""
        await self._go()
        self._shelf.end_due()
        found = self._shelf.entries.get(key)
        await self._come_back()
        return found

    async def list(self, prefix: str) -> AsyncGenerator[Page, None]:
        """See the port."""
        await self._go()
        self._shelf.end_due()
        revision = self._shelf.revision
        keys = sorted(key for key in self._shelf.entries if key.startswith(prefix))
        found = tuple(self._shelf.entries[key] for key in keys)
        await self._come_back()
        for first in range(0, max(1, len(found)), PAGE):
            yield Page(revision, found[first : first + PAGE])

    async def commit(self, *changes: Change, fence: Fence | None = None, tag: str = "") -> int:
        """See the port."""
        wish = Commit(tag or chance.token(24), changes, fence)
        nouns.demand_lawful(wish)
        since = self._shelf.revision
        await self._go()
        revision = self._shelf.apply(wish)
        try:
            await self._come_back()
        except Away as error:
            raise OutcomeUnknown(wish, error.why, since) from error
        return revision

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """See the port. What happens is told without being asked for again."""
        await self._go()
        while True:
            self._demand_open()
            news = self._shelf.news
            seen = self._shelf.since(prefix, after)
            if seen.revision == after:
                await self._until(news)
                continue
            await self._come_back()
            after = seen.revision
            yield seen

    async def lease(self, ttl_s: float) -> Lease:
        """See the port."""
        nouns.demand_lawful_ttl(ttl_s)
        await self._go()
        lease = Lease(int(chance.token(15), 16) + 1, ttl_s)
        self._shelf.grant(lease)
        await self._come_back()
        return lease

    async def keep_alive(self, lease: Lease) -> None:
        """See the port."""
        await self._go()
        self._shelf.prolong(lease)
        await self._come_back()

    async def revoke(self, lease: Lease) -> None:
        """See the port."""
        await self._go()
        self._shelf.end(lease.id)
        await self._come_back()

    async def close(self) -> None:
        """See the port."""
        self._closed = True
        self._shelf.news.set()

    # The way there, which a rehearsal makes worse

    async def _go(self) -> None:
        """Raises Away: nothing was done."""
        self._demand_open()
        await asyncio.sleep(0)

    def _demand_open(self) -> None:
        if self._closed:
            raise Away(what="the store cannot be used", why="it was closed", todo="Open it again.")

    async def _come_back(self) -> None:
        """Raises Away: what was done is done."""

    async def _until(self, news: asyncio.Event) -> None:
        await news.wait()
