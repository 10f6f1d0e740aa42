"""What agents tell is kept as long as it counts, and a guest that was given to a host that says nothing is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import msgspec

from segue.adapters.http.access import Caller
from segue.controller.mirror import Mirror
from segue.controller.reports import DAY_MOST, KEEP_MIGRATIONS, Reports
from segue.model import store as nouns
from segue.model.balance import DAY_S
from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.leadership import HOLDER, Leader, Tenure
from segue.model.lifecycle import Stage
from segue.model.migration import Limits, Migration
from segue.model.store import Fence, Lease
from segue.sim.store import MemoryStore, Shelf
from segue.wire.frames import Shown
from segue.wire.link import Changes, Hello

NOW_S = time.time()


@contextlib.asynccontextmanager
async def written() -> AsyncIterator[tuple[Reports, Mirror]]:
    """A leader's reports, and the mirror of what came of them."""
    store = MemoryStore(Shelf(asyncio.get_running_loop()))
    mirror = Mirror(store)
    following = asyncio.create_task(mirror.follow())
    revision = await store.commit(nouns.create(HOLDER, msgspec.json.encode(Leader("c1", 1, NOW_S))))
    tenure = Tenure("c1", 1, Fence(HOLDER, revision), Lease(0, 10.0), 0.0)
    try:
        yield Reports(store, mirror, tenure, {}, lambda migration: None), mirror
    finally:
        following.cancel()


def facts(name: str) -> HostFacts:
    return HostFacts(
        name=name, instance=name, segue_version="1", wire_version=2, qemu_version="10.0", accelerator="tcg",
        machines=(), cpu_models={}, memory_total_bytes=1 << 33, memory_free_bytes=1 << 33, cpus=8,
        bridges=("br0",), guests=(), kernel="6.12",
    )  # fmt: skip


def hello(name: str, guests: list[Shown], migrations: list[Migration]) -> Hello:
    return Hello(2, 1, f"https://{name}:7443", facts(name), {}, guests, migrations)


def moved(number: int, ago_s: float, stage: Stage = Stage.DONE, to: str = "host2") -> Migration:
    at_s = NOW_S - ago_s
    return Migration(f"m{number}", "web1", "host1", to, Limits(), at_s, stage=stage, ended_s=at_s)


async def test_all_moves_of_a_day_count_and_older_ones_are_forgotten() -> None:
    today = [moved(number, 60.0 + number) for number in range(3 * KEEP_MIGRATIONS)]
    aborted = [moved(1000 + number, 9_000.0 + number, Stage.ABORTED) for number in range(2 * KEEP_MIGRATIONS)]
    old = [moved(2000 + number, DAY_S + 60.0 + number) for number in range(2 * KEEP_MIGRATIONS)]
    async with written() as (reports, mirror):
        await reports.hello(Caller("host", "host1", "1"), hello("host1", [], [*today, *aborted, *old]))
        await reports.changes("host1", Changes(migrations=[moved(3000, 1.0)]))
        kept = {migration.id for migration in mirror.migrations.values()}
    assert {migration.id for migration in today} <= kept
    assert not kept & {migration.id for migration in (*aborted, *old)}
    assert len(kept) < DAY_MOST


async def given_away(last: Migration) -> dict[str, Shown]:
    """host1 had web1 and has it no more; host2 is known, and away. Who has it by what is known now."""
    spec = Guest("web1", "00000000-0000-4000-8000-000000000001", 1 << 30)
    shown = Shown("web1", "host1", "running", "owner", 7, spec)
    async with written() as (reports, mirror):
        await reports.hello(Caller("host", "host2", "2"), hello("host2", [], []))
        await reports.gone("host2")
        await reports.hello(Caller("host", "host1", "1"), hello("host1", [shown], []))
        await reports.changes("host1", Changes(gone=[spec.uuid], migrations=[last]))
        return {kept.host: kept for kept in mirror.guests.values()}


async def test_a_guest_that_was_given_to_a_host_that_is_away_is_its() -> None:
    found = await given_away(moved(1, 1.0))
    assert set(found) == {"host2"}
    assert (found["host2"].phase, found["host2"].state, found["host2"].epoch) == ("owner", "running", 8)


async def test_a_guest_that_was_not_given_away_is_gone() -> None:
    assert not await given_away(moved(1, 1.0, Stage.ABORTED))


async def test_who_is_connected_speaks_for_itself() -> None:
    spec = Guest("web1", "00000000-0000-4000-8000-000000000001", 1 << 30)
    shown = Shown("web1", "host1", "running", "owner", 7, spec)
    async with written() as (reports, mirror):
        await reports.hello(Caller("host", "host2", "2"), hello("host2", [], []))
        await reports.hello(Caller("host", "host1", "1"), hello("host1", [shown], []))
        await reports.changes("host1", Changes(gone=[spec.uuid], migrations=[moved(1, 1.0)]))
        assert not list(mirror.guests.values())
