"""Watches: nothing is left out, nothing is torn apart, and what cannot be shown any more is said."""

from __future__ import annotations

import asyncio
import contextlib
import random

import pytest

from segue.engine.store import Store
from segue.model.store import Away, Change, Compacted, Event, create, delete, replace
from tests.contracts.rigs import Rig, everything, head

LIMIT_S = 10.0


async def collect(store: Store, prefix: str, after: int, upto: int) -> list[Event]:
    """All events of a watch up to a revision that surely has one."""
    found: list[Event] = []
    async with asyncio.timeout(LIMIT_S), contextlib.aclosing(store.watch(prefix, after)) as batches:
        async for batch in batches:
            found += batch.events
            assert all(event.revision <= batch.revision for event in batch.events)
            if batch.revision >= upto:
                return found
    raise AssertionError


async def history_of(store: Store) -> list[int]:
    """Five commits; their revisions."""
    revisions = [await store.commit(create("a/1", b"1"))]
    first = await store.get("a/1")
    assert first is not None
    revisions.append(await store.commit(create("b/1", b"1")))
    revisions.append(await store.commit(replace(first, b"2"), create("a/2", b"1")))
    second = await store.get("a/1")
    assert second is not None
    revisions.append(await store.commit(delete(second)))
    revisions.append(await store.commit(create("a/3", b"end")))
    return revisions


async def test_a_watch_shows_what_happened_and_what_happens(rig: Rig) -> None:
    store = rig.open()
    before = await head(store)
    watching = asyncio.create_task(collect(rig.open(), "a/", before, 1 << 60))
    revisions = await history_of(store)
    events = await collect(rig.open(), "a/", before, revisions[-1])
    seen = [(event.key, event.revision, event.entry.value if event.entry else None) for event in events]
    assert seen == [
        ("a/1", revisions[0], b"1"),
        ("a/1", revisions[2], b"2"),
        ("a/2", revisions[2], b"1"),
        ("a/1", revisions[3], None),
        ("a/3", revisions[4], b"end"),
    ]
    assert not watching.done()
    watching.cancel()


async def test_a_watch_goes_on_where_another_ended(rig: Rig) -> None:
    store = rig.open()
    before = await head(store)
    revisions = await history_of(store)
    whole = await collect(store, "a/", before, revisions[-1])
    for cut in revisions:
        first = [event for event in whole if event.revision <= cut]
        rest = await collect(store, "a/", cut, revisions[-1]) if cut < revisions[-1] else []
        assert first + rest == whole


async def test_a_commit_is_never_torn_apart(rig: Rig) -> None:
    store = rig.open()
    before = await head(store)
    last = before
    for first in range(0, 3000, 100):
        last = await store.commit(*(create(f"k/{n:04}", b"x" * 500) for n in range(first, first + 100)))
    found = 0
    async with asyncio.timeout(LIMIT_S), contextlib.aclosing(store.watch("k/", before)) as batches:
        async for batch in batches:
            for revision in {event.revision for event in batch.events}:
                assert sum(event.revision == revision for event in batch.events) == 100
            found += len(batch.events)
            if batch.revision >= last:
                break
    assert found == 3000


async def test_what_is_forgotten_is_said(rig: Rig) -> None:
    store = rig.open()
    before = await head(store)
    revisions = await history_of(store)
    await rig.compact(revisions[2])
    with pytest.raises(Compacted):
        await collect(store, "a/", before, revisions[-1])
    rest = await collect(store, "a/", revisions[2], revisions[-1])
    assert [event.key for event in rest] == ["a/1", "a/3"]
    assert set(await everything(store)) == {"a/2", "a/3", "b/1"}


async def test_a_revision_of_the_future_is_refused(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("k", b""))
    with pytest.raises(Compacted, match="never there"):
        await collect(store, "", await head(store) + 1000, 1 << 60)


async def test_a_list_and_its_watch_give_the_store_at_every_revision(rig: Rig) -> None:
    """As a controller does it: whoever follows from any list on ends with the same."""
    store, rng = rig.open(), random.Random(7)
    truth: dict[str, int] = {}
    before, starts = await head(store), []
    revision = before
    for _ in range(60):
        keys = rng.sample(["k/a", "k/b", "k/c", "k/d"], rng.randint(1, 2))
        now = await everything(store, "k/")
        changes: list[Change] = []
        for key in keys:
            if key not in now:
                changes.append(create(key, b""))
            else:
                changes.append(delete(now[key]) if rng.random() < 0.4 else replace(now[key], b"x"))
        starts.append((revision, dict(truth)))
        revision = await store.commit(*changes)
        for change in changes:
            truth.pop(change.key, None)
            if change.value is not None:
                truth[change.key] = revision
    for start, state in rng.sample(starts, 5):
        for event in await collect(store, "k/", start, revision):
            state.pop(event.key, None)
            if event.entry is not None:
                state[event.key] = event.entry.revision
        assert state == truth


async def test_a_closed_store_ends_its_watches(rig: Rig) -> None:
    store = rig.open()
    watching = asyncio.create_task(collect(store, "", await head(store), 1 << 60))
    await store.commit(create("k", b""))
    await store.close()
    with pytest.raises(Away, match="closed"):
        await asyncio.wait_for(watching, LIMIT_S)
