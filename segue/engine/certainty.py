"""What became of a write whose answer was lost. It must never guess: what it cannot know stays unknown."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Final

from segue.engine.store import Store
from segue.model import store as nouns
from segue.model.store import Compacted, Conflict, Event, Fenced, LeaseGone, OutcomeUnknown

MARK_S: Final = 30.0


async def make_sure(store: Store, unknown: OutcomeUnknown) -> int:
    """The revision under which the commit was done: then, or now.

    Raises Conflict, Fenced or LeaseGone: it was not done and never will be. Raises OutcomeUnknown again while the
    store gives no answer, or no longer knows; Away while it is away.
    """
    commit = unknown.commit
    try:
        return await store.commit(*commit.changes, fence=commit.fence, tag=commit.tag)
    except (Conflict, Fenced, LeaseGone):
        # Something stands in the way now. That may be what came after it was done.
        if done := await _done_before(store, unknown):
            return done
        raise


async def _done_before(store: Store, unknown: OutcomeUnknown) -> int:
    """Reads all that happened since, up to a mark of our own; 0: it was not done."""
    commit = unknown.commit
    first = commit.changes[0]
    by_tag = any(change.value is not None for change in commit.changes)
    lease = await store.lease(MARK_S)
    end = await store.commit(nouns.create(f"certainty/{commit.tag}", b"", lease.id))
    try:
        async for event in _events(store, unknown.since if by_tag else first.revision, end):
            if by_tag and event.entry is not None and event.entry.tag == commit.tag:
                return event.revision
            if not by_tag and event.key == first.key:
                # A deletion bears no tag. If it is what came next, the key is gone as it was wanted.
                return 0 if event.entry else event.revision
    except Compacted as error:
        raise OutcomeUnknown(commit, error.why, unknown.since) from error
    finally:
        await store.revoke(lease)
    return 0


async def _events(store: Store, after: int, end: int) -> AsyncGenerator[Event, None]:
    async with contextlib.aclosing(store.watch("", after)) as batches:
        async for batch in batches:
            for event in batch.events:
                if event.revision < end:
                    yield event
            if batch.revision >= end:
                return
