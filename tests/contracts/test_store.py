"""Keys: what every store promises of get, list and commit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from segue.errors import Kind, Refused
from segue.model import store as nouns
from segue.model.store import Change, Conflict, Fence, Fenced, create, delete, replace
from tests.contracts.rigs import Rig, everything, head, pages


async def test_what_was_created_is_there_for_everyone(rig: Rig) -> None:
    one, other = rig.open(), rig.open()
    revision = await one.commit(create("guests/web1", b'{"a": 1}'))
    entry = await other.get("guests/web1")
    assert entry is not None
    assert (entry.value, entry.revision, entry.lease) == (b'{"a": 1}', revision, 0)
    assert await other.get("guests/web") is None


@pytest.mark.parametrize(
    "value", [b"", b"\n", b"\x00\xff\n\x80", b"a\nb\n", "süß".encode(), b"x" * nouns.VALUE_BYTES]
)
async def test_a_value_comes_back_as_it_went(rig: Rig, value: bytes) -> None:
    store = rig.open()
    await store.commit(create("k", value))
    found = await store.get("k")
    assert found is not None
    assert found.value == value


async def test_creating_what_is_there_is_a_conflict_and_changes_nothing(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("k", b"first"))
    with pytest.raises(Conflict) as caught:
        await store.commit(create("k", b"second"))
    assert caught.value.key == "k"
    assert caught.value.current == await store.get("k")
    assert caught.value.current is not None
    assert caught.value.current.value == b"first"


async def test_compare_and_set_takes_the_newest_only(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("k", b"1"))
    old = await store.get("k")
    assert old is not None
    second = await store.commit(replace(old, b"2"))
    assert second > old.revision
    with pytest.raises(Conflict) as caught:
        await store.commit(replace(old, b"3"))
    assert caught.value.current is not None
    assert (caught.value.current.value, caught.value.current.revision) == (b"2", second)


async def test_delete_is_a_compare_and_set(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("k", b"1"))
    old = await store.get("k")
    assert old is not None
    await store.commit(replace(old, b"2"))
    with pytest.raises(Conflict):
        await store.commit(delete(old))
    new = await store.get("k")
    assert new is not None
    await store.commit(delete(new))
    assert await store.get("k") is None
    with pytest.raises(Conflict) as caught:
        await store.commit(delete(new))
    assert caught.value.current is None
    await store.commit(create("k", b"again"))


async def test_a_commit_is_done_all_or_not_at_all(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("a", b"1"))
    with pytest.raises(Conflict):
        await store.commit(create("b", b"1"), create("a", b"2"), create("c", b"3"))
    assert set(await everything(store)) == {"a"}
    revision = await store.commit(create("b", b"1"), create("c", b"3"))
    found = await everything(store)
    assert found["b"].revision == found["c"].revision == revision
    assert found["b"].tag == found["c"].tag != found["a"].tag


async def test_a_large_commit(rig: Rig) -> None:
    store = rig.open()
    changes = [create(f"k{n}", b"x" * 10_000) for n in range(nouns.CHANGES)]
    revision = await store.commit(*changes)
    assert {entry.revision for entry in (await everything(store)).values()} == {revision}
    with pytest.raises(Conflict):
        await store.commit(*changes)


async def test_a_list_has_the_prefix_in_order(rig: Rig) -> None:
    store = rig.open()
    for key in ("b/2", "a/1", "b/10", "bb/1", "b/1", "B/1", "b"):
        await store.commit(create(key, key.encode()))
    assert list(await everything(store, "b/")) == ["b/1", "b/10", "b/2"]
    assert list(await everything(store)) == ["B/1", "a/1", "b", "b/1", "b/10", "b/2", "bb/1"]
    empty = await pages(store, "nothing/")
    assert [page.entries for page in empty] == [()]
    assert empty[0].revision == await head(store)


async def test_a_list_of_many_pages_shows_one_revision(rig: Rig) -> None:
    store, writer = rig.open(), rig.open()
    count = 4100
    for first in range(0, count, nouns.CHANGES):
        await writer.commit(*(create(f"k/{n:05}", b"old") for n in range(first, first + nouns.CHANGES)))
    seen = []
    async for page in store.list("k/"):
        seen.append(page)
        last = await writer.get("k/04099")
        assert last is not None
        await writer.commit(replace(last, b"new"), create(f"l/{len(seen)}", b""))
    entries = [entry for page in seen for entry in page.entries]
    assert len(seen) == 3
    assert len({page.revision for page in seen}) == 1
    assert [entry.key for entry in entries] == sorted(f"k/{n:05}" for n in range(count))
    assert {entry.value for entry in entries} == {b"old"}


async def test_of_many_who_want_the_same_one_gets_it(rig: Rig) -> None:
    stores = [rig.open() for _ in range(3)]
    tries = [stores[n % 3].commit(create("the-one", str(n).encode())) for n in range(30)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    winners = [n for n, result in enumerate(results) if isinstance(result, int)]
    assert len(winners) == 1
    assert all(isinstance(result, int | Conflict) for result in results)
    entry = await stores[0].get("the-one")
    assert entry is not None
    assert (entry.value, entry.revision) == (str(winners[0]).encode(), results[winners[0]])


async def test_a_counter_counts_every_compare_and_set_once(rig: Rig) -> None:
    stores = [rig.open() for _ in range(3)]
    await stores[0].commit(create("n", b"0"))

    async def add(n: int) -> int:
        while True:
            now = await stores[n % 3].get("n")
            assert now is not None
            try:
                return await stores[n % 3].commit(replace(now, str(int(now.value) + 1).encode()))
            except Conflict:
                continue

    revisions = await asyncio.gather(*(add(n) for n in range(12)))
    assert len(set(revisions)) == 12
    end = await stores[1].get("n")
    assert end is not None
    assert (end.value, end.revision) == (b"12", max(revisions))


async def test_a_fence_holds_while_its_key_does(rig: Rig) -> None:
    store = rig.open()
    held = Fence("leader", await store.commit(create("leader", b"me")))
    await store.commit(create("a", b"1"), fence=held)
    leader = await store.get("leader")
    assert leader is not None
    await store.commit(replace(leader, b"other"))
    with pytest.raises(Fenced):
        await store.commit(create("b", b"1"), fence=held)
    with pytest.raises(Fenced):
        await store.commit(create("a", b"2"), fence=held)
    with pytest.raises(Fenced):
        await store.commit(create("b", b"1"), fence=Fence("nobody", 1))
    assert set(await everything(store)) == {"a", "leader"}


async def test_the_same_tag_is_the_same_commit(rig: Rig) -> None:
    store = rig.open()
    revision = await store.commit(create("k", b"1"), tag="tag-1")
    entry = await store.get("k")
    assert entry is not None
    assert (entry.tag, entry.revision) == ("tag-1", revision)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        [create("k", b""), create("k", b"")],
        [create("", b"")],
        [create("/k", b"")],
        [create("k/", b"")],
        [create("a//b", b"")],
        [create("a b", b"")],
        [create("a\n", b"")],
        [create("ä", b"")],
        [create("k" * 513, b"")],
        [create("k", b"x" * (nouns.VALUE_BYTES + 1))],
        [create(f"k{n}", b"") for n in range(nouns.CHANGES + 1)],
        [create(f"k{n}", b"x" * nouns.VALUE_BYTES) for n in range(5)],
        [Change("k", 0, None)],
        [Change("k", -1, b"")],
    ],
    ids=lambda changes: repr(changes)[:30],
)
async def test_what_no_store_takes_is_refused(rig: Rig, changes: Any) -> None:
    store = rig.open()
    with pytest.raises(Refused) as caught:
        await store.commit(*changes)
    assert caught.value.kind is Kind.USAGE
    assert await everything(store) == {}


async def test_a_closed_store_says_so(rig: Rig) -> None:
    store = rig.open()
    await store.commit(create("k", b""))
    await store.close()
    await store.close()
    with pytest.raises(nouns.Away, match="closed"):
        await store.get("k")
    with pytest.raises(nouns.Away, match="closed"):
        await store.commit(create("l", b""))
    assert set(await everything(rig.open())) == {"k"}
