"""Leases: never shorter than promised, and their keys go with them."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest

from segue.engine.store import Store
from segue.errors import Kind, Refused
from segue.model.store import LeaseGone, create, replace
from tests.contracts.rigs import Rig, everything, head

LIMIT_S = 15.0


async def gone(store: Store, key: str, after: int) -> tuple[int, float]:
    """(revision, time) at which the key went."""
    async with asyncio.timeout(LIMIT_S), contextlib.aclosing(store.watch(key, after)) as batches:
        async for batch in batches:
            for event in batch.events:
                if event.key == key and event.entry is None:
                    return event.revision, time.monotonic()
    raise AssertionError


async def test_keys_go_with_their_lease_and_not_before(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    lease = await store.lease(1.0)
    assert lease.ttl_s >= 1.0
    revision = await store.commit(create("a", b"", lease.id), create("b", b"", lease.id), create("c", b""))
    entry = await other.get("a")
    assert entry is not None
    assert entry.lease == lease.id
    asked_s = time.monotonic()
    await store.keep_alive(lease)
    ended, ended_s = await gone(other, "a", revision)
    assert ended_s - asked_s >= lease.ttl_s
    assert ended > revision
    assert set(await everything(store)) == {"c"}
    with pytest.raises(LeaseGone):
        await store.keep_alive(lease)
    with pytest.raises(LeaseGone):
        await store.commit(create("d", b"", lease.id))
    await store.revoke(lease)


async def test_a_lease_that_is_kept_alive_lasts(rig: Rig) -> None:
    store = rig.open()
    kept, left = await store.lease(1.0), await store.lease(1.0)
    revision = await store.commit(create("kept", b"", kept.id), create("left", b"", left.id))
    watching = asyncio.create_task(gone(store, "left", revision))
    while not watching.done():
        await store.keep_alive(kept)
        await asyncio.wait([watching], timeout=kept.ttl_s / 4)
    await watching
    assert set(await everything(store)) == {"kept"}


async def test_a_lease_that_is_ended_takes_its_keys_at_once(rig: Rig) -> None:
    store = rig.open()
    lease = await store.lease(600.0)
    await store.commit(create("a", b"", lease.id), create("b", b""))
    await store.revoke(lease)
    assert set(await everything(store)) == {"b"}
    await store.revoke(lease)


async def test_a_key_that_is_replaced_stays_with_its_lease(rig: Rig) -> None:
    store = rig.open()
    lease = await store.lease(600.0)
    await store.commit(create("a", b"", lease.id))
    first = await store.get("a")
    assert first is not None
    await store.commit(replace(first, b"new"))
    second = await store.get("a")
    assert second is not None
    assert (second.value, second.lease) == (b"new", lease.id)
    await store.revoke(lease)
    assert await store.get("a") is None


async def test_a_lease_never_taken_binds_nothing(rig: Rig) -> None:
    store = rig.open()
    before = await head(store)
    with pytest.raises(LeaseGone):
        await store.commit(create("a", b""), create("b", b"", 12345))
    assert await everything(store) == {}
    assert await head(store) == before


@pytest.mark.parametrize("ttl_s", [0.0, -1.0, 0.5, 3601.0, float("nan"), float("inf")])
async def test_odd_times_are_refused(rig: Rig, ttl_s: float) -> None:
    with pytest.raises(Refused) as caught:
        await rig.open().lease(ttl_s)
    assert caught.value.kind is Kind.USAGE
