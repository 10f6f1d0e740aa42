"""What only a cluster can suffer: members killed, frozen, cut off, and an etcd that does not let us in."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from segue.adapters.store.etcd.place import EtcdPlace
from segue.adapters.store.etcd.store import EtcdStore
from segue.engine import certainty
from segue.engine.store import Store
from segue.errors import Kind, Refused
from segue.lab import pki
from segue.model.store import Away, Conflict, Event, OutcomeUnknown, create, delete
from tests.contracts import history
from tests.contracts.cluster import PASSWORD, Cluster, Member
from tests.contracts.history import History, faults
from tests.contracts.rigs import EtcdRig, everything, head

pytestmark = pytest.mark.lab
LIMIT_S = 30.0
FAULTS: dict[str, Callable[[Member], None]] = {
    "killed": Member.kill,
    "frozen": Member.freeze,
    "cut off from all": lambda member: member.cut("c", "p"),
    "cut off from the members": lambda member: member.cut("p"),
    "cut off from clients": lambda member: member.cut("c"),
}


@pytest_asyncio.fixture
async def rig(etcd: Cluster, tmp_path: Path) -> AsyncIterator[EtcdRig]:
    """An empty prefix in a cluster that is whole, and is made whole again."""
    await etcd.whole()
    made = EtcdRig(etcd, f"segue/f{abs(hash(tmp_path))}")
    yield made
    await asyncio.gather(*(store.close() for store in made.opened))
    await etcd.whole()


class Writers:
    """Some clients that write new keys as fast as they can; what was acknowledged, and what became unknown."""

    def __init__(self, stores: list[EtcdStore]) -> None:
        self.done: dict[str, int] = {}
        self.unknown: list[OutcomeUnknown] = []
        self.gaps_s: list[float] = []
        self._more = asyncio.Event()
        self._stop = False
        self._tasks = [asyncio.create_task(self._write(n, store)) for n, store in enumerate(stores)]

    async def _write(self, number: int, store: EtcdStore) -> None:
        last_s, count = time.monotonic(), 0
        while not self._stop:
            count += 1
            key = f"w/{number}-{count:05}"
            try:
                self.done[key] = await store.commit(create(key, b"x" * 100))
            except OutcomeUnknown as error:
                self.unknown.append(error)
            except Away:
                continue
            self.gaps_s.append(time.monotonic() - last_s)
            last_s = time.monotonic()
            self._more.set()

    async def more(self, count: int) -> None:
        """Returns when so many more were acknowledged."""
        upto = len(self.done) + count
        async with asyncio.timeout(LIMIT_S):
            while len(self.done) < upto:
                self._more.clear()
                await self._more.wait()

    async def stop(self) -> None:
        self._stop = True
        async with asyncio.timeout(LIMIT_S):
            await asyncio.gather(*self._tasks)


async def until(true: Callable[[], object]) -> None:
    """Waits for something that nobody announces."""
    async with asyncio.timeout(LIMIT_S):
        while not true():
            await asyncio.sleep(0.005)


async def watch_into(store: Store, after: int, events: list[Event]) -> None:
    async with contextlib.aclosing(store.watch("w/", after)) as batches:
        async for batch in batches:
            events.extend(batch.events)


@pytest.mark.parametrize("fault", FAULTS)
async def test_the_leading_member_is_lost_in_the_middle_of_writes(
    rig: EtcdRig, fault: str, record_property: Callable[[str, object], None]
) -> None:
    leader = await asyncio.to_thread(rig.cluster.leader)
    first_there = (leader.number, *(n for n in (1, 2, 3) if n != leader.number))
    stores = [rig.open(first_there if n % 2 else (1, 2, 3)) for n in range(4)]
    events: list[Event] = []
    watching = asyncio.create_task(watch_into(rig.open(first_there), await head(stores[0]), events))
    writers = Writers(stores)
    await writers.more(40)
    await until(lambda: len(events) >= 20)
    FAULTS[fault](leader)
    await writers.more(40)
    await rig.cluster.whole()
    await writers.more(40)
    await writers.stop()
    for unknown in writers.unknown:
        writers.done[unknown.commit.changes[0].key] = await certainty.make_sure(stores[0], unknown)
    found = await everything(stores[1], "w/")
    assert {key: entry.revision for key, entry in found.items()} == writers.done
    await until(lambda: len(events) >= len(found))
    watching.cancel()
    assert [event.revision for event in events] == sorted(writers.done.values())
    record_property("longest_gap_s", max(writers.gaps_s))
    record_property("unknown", len(writers.unknown))


@pytest.mark.parametrize("fault", FAULTS)
async def test_calls_are_linearizable_under_faults(rig: EtcdRig, fault: str) -> None:
    seen, rng = History(), random.Random(fault)
    stores = [rig.open(limit_s=3.0) for _ in range(3)]
    clients = [
        history.client(stores[n % 3], ["a", "b", "c"], random.Random(f"{fault}{n}"), calls=40, history=seen)
        for n in range(6)
    ]
    working = asyncio.gather(*clients)
    await until(lambda: len(seen.calls) >= 60)
    FAULTS[fault](rng.choice(rig.cluster.members))
    await until(lambda: len(seen.calls) >= 150)
    await rig.cluster.whole()
    async with asyncio.timeout(LIMIT_S):
        await working
    for key in ("a", "b", "c"):
        await history.read(stores[0], key, seen)
    assert faults(seen) == []


async def test_without_a_majority_nothing_is_promised_and_nothing_lost(rig: EtcdRig) -> None:
    alone, *others = rig.cluster.members
    store = rig.open(limit_s=0.8)
    await store.commit(create("before", b""))
    for member in others:
        member.freeze()
    with pytest.raises(Away):
        await store.get("before")
    with pytest.raises((OutcomeUnknown, Away)) as caught:
        await rig.open((alone.number,), limit_s=0.8).commit(create("k", b"1"))
    with pytest.raises(Away):
        await store.lease(5.0)
    await rig.cluster.whole()
    if isinstance(caught.value, OutcomeUnknown):
        revision = await certainty.make_sure(store, caught.value)
        assert (await everything(store))["k"].revision == revision
    assert "before" in await everything(store)


@pytest.mark.parametrize("fault", ["frozen", "cut off from the members"])
async def test_a_request_that_lay_in_a_member_is_not_done_twice(rig: EtcdRig, fault: str) -> None:
    """Created through another member, deleted, and only then the first one hands on what it was sent."""
    leader = await asyncio.to_thread(rig.cluster.leader)
    late, other = [member for member in rig.cluster.members if member is not leader]
    store = rig.open((late.number, leader.number, other.number))
    await store.commit(create("l", b""))  # its connection to the first member is open
    FAULTS[fault](late)
    revision = await store.commit(create("k", b"1"))
    entry = await store.get("k")
    assert entry is not None
    assert entry.revision == revision
    await store.commit(delete(entry))
    await rig.cluster.whole()
    through = rig.open((late.number,))
    for n in range(50):  # behind what came before it, on the same way
        await through.commit(create(f"m/{n}", b""))
    assert await store.get("k") is None
    await store.commit(create("k", b"2"))


async def test_a_member_without_the_others_never_shows_an_old_world(rig: EtcdRig) -> None:
    leader = await asyncio.to_thread(rig.cluster.leader)
    lonely = next(member for member in rig.cluster.members if member is not leader)
    store, old = rig.open(), rig.open((lonely.number,), limit_s=0.8)
    await store.commit(create("k", b"old"))
    before = await head(old)
    events: list[Event] = []
    watching = asyncio.create_task(watch_into(rig.open((lonely.number, leader.number)), before, events))
    first = await store.commit(create("w/first", b""))
    await until(lambda: events)
    lonely.cut("p")
    revision = await store.commit(create("w/new", b"new"))
    with pytest.raises(Away):
        await old.get("w/new")
    await until(lambda: len(events) >= 2)  # the watch left the member that heard nothing any more
    watching.cancel()
    assert [event.revision for event in events] == [first, revision]


async def test_a_lease_outlives_the_member_that_kept_it(rig: EtcdRig) -> None:
    store = rig.open()
    lease = await store.lease(4.0)
    await store.commit(create("held", b"", lease.id))
    await store.keep_alive(lease)
    (await asyncio.to_thread(rig.cluster.leader)).kill()
    await store.keep_alive(lease)
    assert await store.get("held") is not None
    await store.revoke(lease)
    assert await store.get("held") is None


async def test_tokens_are_renewed(rig: EtcdRig) -> None:
    """The members forget a token that was not used for 1 s."""
    store = rig.open((1,))
    await store.commit(create("k", b""))
    other = rig.open((1,))
    deadline_s = time.monotonic() + 2.2
    while time.monotonic() < deadline_s:  # time itself is what is tested here
        await other.get("k")
        await asyncio.sleep(0.1)
    before = store._gateway._token
    with pytest.raises(Conflict):
        await store.commit(create("k", b""))
    assert store._gateway._token != before


async def test_a_new_password_disturbs_nobody(rig: EtcdRig) -> None:
    store, events = rig.open(), list[Event]()
    watching = asyncio.create_task(watch_into(rig.open(), await head(store), events))
    writers = Writers([store, rig.open()])
    try:
        await writers.more(10)
        await until(lambda: events)
        await asyncio.to_thread(rig.cluster.change_password, "another")
        await writers.more(10)
        await writers.stop()
        await until(lambda: len(events) >= len(writers.done))
        assert writers.unknown == []
        assert not watching.done()
    finally:
        await asyncio.to_thread(rig.cluster.change_password, PASSWORD)
        watching.cancel()


def changed(place: EtcdPlace, **changes: object) -> EtcdPlace:
    return dataclasses.replace(place, **changes)  # type: ignore[arg-type]


async def refused(place: EtcdPlace) -> Refused:
    store = EtcdStore(place, limit_s=3.0, attempt_s=2.5)
    try:
        with pytest.raises(Refused) as caught:
            await store.commit(create("k", b""))
    finally:
        await store.close()
    return caught.value


async def test_who_is_not_let_in_is_told_why(rig: EtcdRig, tmp_path: Path) -> None:
    place = rig.cluster.place(rig.prefix)
    (tmp_path / "wrong").write_text("wrong\n")
    wrong = await refused(changed(place, password_file=tmp_path / "wrong"))
    assert (wrong.kind, "authentication failed" in wrong.why) == (Kind.AUTH, True)
    nobody = await refused(changed(place, user="", password_file=None))
    assert (nobody.kind, "user name is empty" in nobody.why) == (Kind.AUTH, True)
    elsewhere = await refused(changed(place, prefix="another"))
    assert (elsewhere.kind, "permission denied" in elsewhere.why) == (Kind.AUTH, True)
    gone = await refused(changed(place, password_file=tmp_path / "gone"))
    assert "password" in gone.why


async def test_wrong_certificates_are_told(rig: EtcdRig, tmp_path: Path) -> None:
    place = rig.cluster.place(rig.prefix)
    stranger = pki.ensure_authority(tmp_path)
    unknown = await refused(changed(place, ca=tmp_path / "ca.pem"))
    assert (unknown.kind, "certificate verify failed" in unknown.why) == (Kind.UNREACHABLE, True)
    pair = pki.Pair(tmp_path / "a.pem", tmp_path / "a.key")
    pki.issue(stranger, pair, common_name="", uri="segue://x")
    assert isinstance(await refused(changed(place, cert=pair.certificate, key=pair.key)), Away)
    named = pki.Pair(tmp_path / "b.pem", tmp_path / "b.key")
    ours = pki.ensure_authority(rig.cluster.folder / "pki")
    pki.issue(ours, named, common_name="controller", uri="segue://x")
    told = await refused(changed(place, cert=named.certificate, key=named.key))
    assert (told.kind, "common name" in told.why) == (Kind.AUTH, True)


async def test_where_nobody_listens_nothing_was_done_for_certain(rig: EtcdRig) -> None:
    place = changed(
        rig.cluster.place(rig.prefix), endpoints=("https://10.98.0.254:1", "https://10.98.0.254:2")
    )
    assert isinstance(await refused(place), Away)


async def test_a_full_etcd_is_told(rig: EtcdRig) -> None:
    store = rig.open()
    await store.commit(create("k", b""))
    alarm = {"action": "ACTIVATE", "memberID": rig.cluster.member_id(), "alarm": "NOSPACE"}
    await asyncio.to_thread(rig.cluster.as_root, "/v3/maintenance/alarm", alarm)
    try:
        with pytest.raises(Away, match="full") as caught:
            await store.commit(create("l", b""))
        assert "defragment" in caught.value.todo
        assert set(await everything(store)) == {"k"}
    finally:
        await asyncio.to_thread(
            rig.cluster.as_root, "/v3/maintenance/alarm", {**alarm, "action": "DEACTIVATE"}
        )
    await store.commit(create("l", b""))


async def test_a_value_that_segue_did_not_write_is_told(rig: EtcdRig) -> None:
    store = rig.open()
    key = store._words.key("foreign")
    await asyncio.to_thread(rig.cluster.as_root, "/v3/kv/put", {"key": key, "value": "e30="})
    with pytest.raises(Refused, match="not written by segue"):
        await store.get("foreign")
