"""Leaders on real stores: one at a time, higher and higher epochs, and what happens to the one that does not notice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from segue.adapters.clock import BootClock
from segue.engine.leadership import Candidate
from segue.model import store as nouns
from segue.model.leadership import EPOCH, HOLDER, Leader, NotLeading, Tenure
from segue.model.store import Away, Fenced, OutcomeUnknown, create, delete
from segue.policy import leadership
from tests import freezing
from tests.contracts.rigs import EtcdRig, Rig, SqliteRig, everything

TTL_S = 1.0
LIMIT_S = 20.0


class Controller:
    """A candidate on a client of its own; `began` and `ended` are what its work saw."""

    def __init__(self, rig: Rig, name: str) -> None:
        self.store = rig.open()
        self.candidate = Candidate(self.store, BootClock(), name, TTL_S)
        self.began: asyncio.Queue[Tenure] = asyncio.Queue()
        self.reigns = 0
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(self.candidate.reign(self.work))

    async def work(self, tenure: Tenure) -> None:
        self.reigns += 1
        try:
            await self.began.put(tenure)
            await asyncio.Event().wait()
        finally:
            self.reigns -= 1

    async def leads(self) -> Tenure:
        async with asyncio.timeout(LIMIT_S):
            return await self.began.get()

    async def resign(self) -> None:
        assert self.task
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


@contextlib.asynccontextmanager
async def controllers(rig: Rig, *names: str) -> AsyncIterator[list[Controller]]:
    made = [Controller(rig, name) for name in names]
    try:
        yield made
    finally:
        for one in made:
            if one.task is not None and not one.task.done():
                await one.resign()


async def test_one_leads_and_the_next_follows(rig: Rig) -> None:
    async with controllers(rig, "a", "b", "c") as every:
        for one in every:
            one.start()
        epochs = []
        while every:
            first = [asyncio.create_task(one.leads()) for one in every]
            async with asyncio.timeout(LIMIT_S):
                await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            winner = next(n for n, task in enumerate(first) if task.done())
            for task in first:
                task.cancel()
            tenure = first[winner].result()
            assert [one.reigns for one in every].count(1) == 1
            assert every[winner].candidate.demand() == tenure
            for one in every[:winner] + every[winner + 1 :]:
                with pytest.raises(NotLeading):
                    one.candidate.demand()
            epochs.append(tenure.epoch)
            shown = await everything(every[winner].store, "leader/")
            assert msgspec.json.decode(shown[HOLDER].value, type=Leader).epoch == tenure.epoch
            assert int(shown[EPOCH].value) == tenure.epoch
            await every.pop(winner).resign()
        assert epochs == [1, 2, 3]


async def test_it_stays_leader_while_it_is_confirmed(rig: Rig) -> None:
    async with controllers(rig, "a") as (one,):
        one.start()
        tenure = await one.leads()
        async with asyncio.timeout(LIMIT_S):
            while one.candidate.demand().confirmed_s < tenure.confirmed_s + 1.5 * tenure.lease.ttl_s:
                await asyncio.sleep(0.01)
        assert one.candidate.demand().epoch == tenure.epoch


async def test_a_leader_without_a_store_stops_before_another_leads(rig: Rig) -> None:
    clock = BootClock()
    async with controllers(rig, "a", "b") as (one, other):
        one.start()
        await one.leads()
        other.start()
        await one.store.close()
        stopped_s = None
        async with asyncio.timeout(LIMIT_S):
            while other.began.empty():
                with contextlib.suppress(NotLeading):
                    one.candidate.demand()
                    assert stopped_s is None, "it led again without a store"
                    await asyncio.sleep(0.005)
                    continue
                stopped_s = stopped_s or clock.steady_s()
                assert one.reigns == 0 or clock.steady_s() - stopped_s < 0.5
                await asyncio.sleep(0.005)
        assert stopped_s is not None
        assert one.reigns == 0
        assert (await other.leads()).epoch == 2


async def test_of_two_who_think_they_lead_the_epoch_tells(rig: Rig) -> None:
    """The key was taken away by hand: the one thing that no lease protects from."""
    async with controllers(rig, "a", "b") as (one, other):
        one.start()
        old = await one.leads()
        other.start()
        held = await one.store.get(HOLDER)
        assert held is not None
        await one.store.commit(delete(held))
        new = await other.leads()
        assert new.epoch > old.epoch
        with pytest.raises(Fenced):
            await one.store.commit(create("from-the-old", b""), fence=old.fence)
        await other.store.commit(create("from-the-new", b""), fence=new.fence)
        assert leadership.heeds(old.epoch, new.epoch)
        assert not leadership.heeds(new.epoch, old.epoch)
        assert one.task
        async with asyncio.timeout(LIMIT_S):
            await one.task  # it notices at its next keep-alive
        assert other.candidate.demand().epoch == new.epoch


async def test_work_that_ends_or_fails_makes_room(rig: Rig) -> None:
    async with controllers(rig, "a", "b") as (one, other):

        async def fails(_tenure: Tenure) -> None:
            raise LookupError("a bug in the work")

        with pytest.raises(LookupError):
            await one.candidate.reign(fails)
        with pytest.raises(NotLeading):
            one.candidate.demand()
        other.start()
        assert (await other.leads()).epoch == 2


async def test_agents_that_know_a_higher_epoch_are_outbid(rig: Rig) -> None:
    async with controllers(rig, "a") as (one,):
        seen: list[int] = []

        async def notes(tenure: Tenure) -> None:
            seen.append(tenure.epoch)

        await one.candidate.reign(notes, seen_by_agents=41)
        await one.candidate.reign(notes)
        assert seen == [42, 43]


PRETENDER = """
import asyncio, sys
from pathlib import Path
from segue.adapters.clock import BootClock
from segue.adapters.store.sqlite.store import SqliteStore
from segue.engine.leadership import Candidate
from segue.errors import Refused
from segue.model import store as nouns

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    candidate = Candidate(store, BootClock(), "frozen", 1.0)
    async def work(tenure):
        count = 0
        try:
            while True:
                count += 1
                await store.commit(nouns.create(f"old/{count}", str(tenure.epoch).encode()), fence=tenure.fence)
                print("wrote", tenure.epoch, flush=True)
                await asyncio.sleep(0.01)
        finally:
            try:
                candidate.demand()
            except Refused as error:
                print("stopped", type(error).__name__, flush=True)
    try:
        await candidate.reign(work)
    except Refused as error:
        print("refused", type(error).__name__, flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_a_leader_that_was_frozen_wakes_up_and_does_nothing(tmp_path: Path) -> None:
    """It writes without asking whether it still leads, as the worst controller would."""
    rig = SqliteRig(tmp_path / "store.db")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PRETENDER, str(rig.path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    async with controllers(rig, "other") as (other,), asyncio.timeout(LIMIT_S):
        while not (await process.stdout.readline()).startswith(b"wrote"):
            pass
        await asyncio.to_thread(freezing.stop_between_writes, process.pid, rig.path)
        other.start()
        tenure = await other.leads()
        revision = await other.store.commit(create("new", b""), fence=tenure.fence)
        process.send_signal(signal.SIGCONT)
        said = (await process.stdout.read()).decode().split("\n")
        assert "stopped NotLeading" in said
        assert await process.wait() == 0
        written = await everything(other.store, "old/")
        assert written
        assert all(entry.revision < revision for entry in written.values())
        assert all(int(entry.value) < tenure.epoch for entry in written.values())
        assert other.candidate.demand().epoch == tenure.epoch
    await other.store.close()


@pytest.mark.lab
async def test_members_die_under_a_leader(rig: Rig) -> None:
    """A member is lost, then the one that leads etcd: whoever leads the fleet has a higher epoch, and one at a time."""
    if not isinstance(rig, EtcdRig):
        pytest.skip("a file has no members")
    cluster = rig.cluster
    await cluster.whole()
    async with controllers(rig, "a", "b") as every:
        for one in every:
            one.start()
        stop = asyncio.Event()
        written = asyncio.create_task(write_as_leader(every, stop))
        async with asyncio.timeout(LIMIT_S):
            while not any(one.reigns for one in every):
                await asyncio.sleep(0.01)
        leader = await asyncio.to_thread(cluster.leader)
        leader.kill()
        try:
            await asyncio.to_thread(cluster.leader)
            async with asyncio.timeout(LIMIT_S):
                while not any(acts(one) for one in every):
                    await asyncio.sleep(0.01)
            stop.set()
            epochs = await written
        finally:
            await cluster.whole()
        found = await everything(every[0].store, "written/")
        assert set(epochs) <= set(found)
        in_order = sorted(found.values(), key=lambda entry: entry.revision)
        told = [int(entry.value) for entry in in_order]
        assert told == sorted(told), "an old leader wrote after a new one"


def acts(one: Controller) -> bool:
    try:
        one.candidate.demand()
    except NotLeading:
        return False
    return True


async def write_as_leader(every: list[Controller], stop: asyncio.Event) -> list[str]:
    """Everybody who may act writes its epoch; the keys of what was acknowledged."""
    done: list[str] = []

    async def one_by_one(number: int, one: Controller) -> None:
        count = 0
        while not stop.is_set():
            await asyncio.sleep(0.01)
            with contextlib.suppress(NotLeading, Fenced, Away, OutcomeUnknown):
                tenure = one.candidate.demand()
                count += 1
                key = f"written/{number}-{count}"
                await one.store.commit(nouns.create(key, str(tenure.epoch).encode()), fence=tenure.fence)
                done.append(key)

    await asyncio.gather(*(one_by_one(number, one) for number, one in enumerate(every)))
    return done
