"""A write whose answer was lost: whatever became of it, it can be known, and it is never done twice."""

from __future__ import annotations

import secrets

import pytest

from segue.engine import certainty
from segue.engine.store import Store
from segue.model.store import (
    Change,
    Commit,
    Conflict,
    Entry,
    Fence,
    Fenced,
    LeaseGone,
    OutcomeUnknown,
    create,
    delete,
    replace,
)
from tests.contracts.rigs import Rig, everything, head


async def lost(store: Store, *changes: Change, fence: Fence | None = None) -> OutcomeUnknown:
    """A commit that is not sent (yet), as its caller knows it when no answer comes."""
    tag = secrets.token_urlsafe(16)
    return OutcomeUnknown(Commit(tag, changes, fence), "the test lost it", await head(store))


async def send(store: Store, unknown: OutcomeUnknown) -> int:
    """It was done after all."""
    return await store.commit(*unknown.commit.changes, fence=unknown.commit.fence, tag=unknown.commit.tag)


async def there(store: Store, key: str) -> Entry:
    entry = await store.get(key)
    assert entry is not None
    return entry


async def test_what_was_not_done_is_done_now(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("a", b"1"))
    unknown = await lost(store, replace(await there(store, "a"), b"2"), create("b", b"2"))
    revision = await certainty.make_sure(store, unknown)
    assert {(e.value, e.revision) for e in (await everything(store)).values()} == {(b"2", revision)}


async def test_what_was_done_is_not_done_again(rig: Rig) -> None:
    store = rig.open()
    unknown = await lost(store, create("a", b"1"))
    revision = await send(store, unknown)
    assert await certainty.make_sure(rig.open(), unknown) == revision
    assert (await there(store, "a")).revision == revision


async def test_it_is_known_although_others_wrote_since(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("a", b"1"))
    unknown = await lost(store, replace(await there(store, "a"), b"2"))
    revision = await send(store, unknown)
    await store.commit(replace(await there(store, "a"), b"3"))
    assert await certainty.make_sure(store, unknown) == revision
    assert (await there(store, "a")).value == b"3"
    assert await everything(store, "certainty/") == {}


async def test_what_was_created_and_deleted_does_not_come_back(rig: Rig) -> None:
    store = rig.open()
    unknown = await lost(store, create("a", b"1"))
    revision = await send(store, unknown)
    await store.commit(delete(await there(store, "a")), create("b", b"other"))
    assert await certainty.make_sure(store, unknown) == revision
    assert await store.get("a") is None


async def test_what_came_too_late_is_a_conflict(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("a", b"1"))
    unknown = await lost(store, replace(await there(store, "a"), b"mine"))
    await store.commit(replace(await there(store, "a"), b"other"))
    with pytest.raises(Conflict):
        await certainty.make_sure(store, unknown)
    assert (await there(store, "a")).value == b"other"


async def test_a_create_that_came_too_late_never_comes_back(rig: Rig) -> None:
    store = rig.open()
    unknown = await lost(store, create("a", b"mine"))
    await store.commit(create("a", b"other"))
    with pytest.raises(Conflict):
        await certainty.make_sure(store, unknown)
    await store.commit(delete(await there(store, "a")))
    assert await store.get("a") is None


async def test_deletes_are_known_by_what_came_next(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("a", b"1"), create("b", b"1"))
    done = await lost(store, delete(await there(store, "a")))
    revision = await send(store, done)
    await store.commit(create("a", b"again"))
    assert await certainty.make_sure(store, done) == revision
    late = await lost(store, delete(await there(store, "b")))
    await store.commit(replace(await there(store, "b"), b"2"))
    await store.commit(delete(await there(store, "b")))
    with pytest.raises(Conflict):
        await certainty.make_sure(store, late)


async def test_a_lost_fence_or_lease_is_told(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("leader", b""))
    held = await there(store, "leader")
    unknown = await lost(store, create("a", b""), fence=Fence("leader", held.revision))
    await store.commit(delete(held))
    with pytest.raises(Fenced):
        await certainty.make_sure(store, unknown)
    lease = await store.lease(600.0)
    unknown = await lost(store, create("b", b"", lease.id))
    await store.revoke(lease)
    with pytest.raises(LeaseGone):
        await certainty.make_sure(store, unknown)


async def test_what_is_not_kept_any_more_stays_unknown(rig: Rig) -> None:
    store = rig.open()
    unknown = await lost(store, create("a", b"mine"))
    await send(store, unknown)
    await store.commit(replace(await there(store, "a"), b"other"))
    await rig.compact(await store.commit(create("z", b"")))
    with pytest.raises(OutcomeUnknown):
        await certainty.make_sure(store, unknown)
