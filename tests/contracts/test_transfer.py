"""Backup, restore, migration: at one revision, compared, refused in time, and never half of it without a mark."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from segue.adapters.clock import BootClock
from segue.adapters.store import backup_file
from segue.adapters.store.backup_file import Head
from segue.adapters.store.sqlite.store import SqliteStore
from segue.controller import stores
from segue.engine import transfer
from segue.engine.leadership import Candidate
from segue.engine.store import Store
from segue.errors import Kind, Refused, Unknown
from segue.model import store as nouns
from segue.model.leadership import HOLDER, Tenure
from segue.model.store import Entry, create, delete, replace
from segue.policy import leadership
from tests.contracts.rigs import EtcdRig, Rig, SqliteRig, everything

LIMIT_S = 20.0


def quiet(_what: str, _count: int) -> None:
    """Nobody watches."""


async def stock(store: Store, count: int = 450) -> dict[str, bytes]:
    """Entries of all sorts; what of them belongs into a backup."""
    rng = random.Random(count)
    truth = {f"guests/{n:04}": rng.randbytes(rng.randrange(600)) for n in range(count)}
    truth["large"] = rng.randbytes(nouns.VALUE_BYTES)
    truth["largest"] = rng.randbytes(nouns.VALUE_BYTES)
    keys = list(truth)
    for first in range(0, len(keys), 90):
        await store.commit(*(create(key, truth[key]) for key in keys[first : first + 90]))
    lease = await store.lease(600.0)
    await store.commit(create("controllers/c1", b"alive", lease.id))
    return truth


async def held(store: Store) -> dict[str, bytes]:
    """What a fleet keeps in it."""
    return {entry.key: entry.value async for entry in transfer.content(store)}


async def fill(rig: Rig, entries: dict[str, bytes]) -> transfer.Copied:
    """The engine's part, from entries that are known."""
    store = rig.open()
    found: list[transfer.Copied] = []

    async def source() -> AsyncIterator[Entry]:
        for key in sorted(entries):
            yield Entry(key, entries[key], 0)

    async def work(tenure: Tenure) -> None:
        found.append(await transfer.fill(store, source, tenure.fence, quiet))

    await transfer.lead(store, BootClock(), work)
    return found[0]


async def test_a_store_is_filled_and_nothing_else_is_left(rig: Rig) -> None:
    store = rig.open()
    await stock(store)
    wanted = {"a": b"1", "guests/0001": b"other", "z/9": b""}
    copied = await fill(rig, wanted)
    assert copied.entries == 3
    assert await held(store) == wanted
    await transfer.demand_usable(store)
    assert await store.get(HOLDER) is None


async def test_many_entries(rig: Rig) -> None:
    wanted = {f"k/{n:05}": b"x" * (n % 2000) for n in range(5000)}
    copied = await fill(rig, wanted)
    assert (copied.entries, copied.bytes) == (5000, sum(map(len, wanted.values())))
    assert await held(rig.open()) == wanted


async def test_a_snapshot_is_of_one_revision(rig: Rig) -> None:
    """Two keys that are always written together are never seen apart."""
    store, writer = rig.open(), rig.open()
    names = ["a-first", "z-last"]
    await writer.commit(
        *(create(name, b"0") for name in names), *(create(f"k/{n:02}", b"") for n in range(50))
    )
    for first in range(0, 5000, 100):
        await writer.commit(*(create(f"m/{n:04}", b"") for n in range(first, first + 100)))
    revision, entries = await transfer.snapshot(store)
    seen = {}
    async for entry in entries:
        if entry.key in names or entry.key.endswith("000"):
            now = await everything(writer, "a-"), await everything(writer, "z-")
            both = [*now[0].values(), *now[1].values()]
            await writer.commit(*(replace(each, str(int(each.value) + 1).encode()) for each in both))
        if entry.key in names:
            seen[entry.key] = entry.value
        assert entry.revision <= revision
    assert seen == {"a-first": b"0", "z-last": b"0"}


async def test_whoever_loses_the_right_to_lead_says_that_it_is_half_done(rig: Rig) -> None:
    store = rig.open()

    async def work(tenure: Tenure) -> None:
        holder = await store.get(HOLDER)
        assert holder is not None
        await store.commit(create("transfer/unfinished", b""), fence=tenure.fence)
        await store.commit(delete(holder))
        await transfer.fill(store, lambda: transfer.content(store), tenure.fence, quiet)

    await store.commit(create("k", b""))
    with pytest.raises(Unknown, match="only in part"):
        await transfer.lead(store, BootClock(), work)
    with pytest.raises(Refused, match="not finished"):
        await transfer.demand_usable(store)


async def test_nobody_leads_while_a_store_is_filled(rig: Rig) -> None:
    store, other = rig.open(), rig.open()
    led: list[int] = []

    async def leads(tenure: Tenure) -> None:
        led.append(tenure.epoch)

    waiting = asyncio.create_task(asyncio.sleep(0))

    async def work(tenure: Tenure) -> None:
        nonlocal waiting
        waiting = asyncio.create_task(Candidate(other, BootClock(), "c1").reign(leads))
        await stock(store)
        assert led == []
        assert tenure.epoch == 1

    await transfer.lead(store, BootClock(), work)
    async with asyncio.timeout(LIMIT_S):
        await waiting
    assert led == [2]


# With files


@pytest.fixture
def file_rig(tmp_path: Path) -> SqliteRig:
    return SqliteRig(tmp_path / "store.db")


def url(path: Path) -> str:
    return f"sqlite://{path}"


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        await store.close()


async def test_a_backup_comes_back_and_outbids_every_epoch(tmp_path: Path) -> None:
    old, new, file = tmp_path / "old.db", tmp_path / "new.db", tmp_path / "backup"
    async with opened(old) as store:
        truth = await stock(store)

        async def nothing(_tenure: Tenure) -> None:
            return

        for _ in range(3):
            await Candidate(store, BootClock(), "c1").reign(nothing)
    taken = await stores.backup(url(old), file, on_progress=quiet)
    assert taken.entries == len(truth)
    assert file.stat().st_mode & 0o777 == 0o600
    done = await stores.restore(file, url(new), replace=False, on_progress=quiet)
    assert (done.entries, done.revision) == (len(truth), taken.revision)
    assert done.epoch > 3 + leadership.EPOCHS_LEFT_OUT
    async with opened(new) as store:
        assert await held(store) == truth
        assert "controllers/c1" not in await everything(store)


async def test_what_must_not_happen_is_refused_before_anything_changes(tmp_path: Path) -> None:
    full, file = tmp_path / "full.db", tmp_path / "backup"
    async with opened(full) as store:
        truth = await stock(store)
    await stores.backup(url(full), file, on_progress=quiet)
    before = file.read_bytes()
    with pytest.raises(Refused, match="not empty"):
        await stores.restore(file, url(full), replace=False, on_progress=quiet)
    with pytest.raises(Refused) as caught:
        await stores.backup(url(full), file, on_progress=quiet)
    assert caught.value.kind is Kind.CONFLICT
    assert file.read_bytes() == before
    with pytest.raises(Refused, match="same store"):
        await stores.migrate(url(full), url(tmp_path / "." / "full.db"), replace=True, on_progress=quiet)
    with pytest.raises(Refused, match="no store"):
        await stores.migrate(
            url(tmp_path / "typo.db"), url(tmp_path / "new.db"), replace=True, on_progress=quiet
        )
    with pytest.raises(Refused):
        await stores.backup(url(full), tmp_path / "no-folder" / "backup", on_progress=quiet)
    assert sorted(path.name for path in tmp_path.iterdir() if "-" not in path.name) == ["backup", "full.db"]
    async with opened(full) as store:
        assert await held(store) == truth


async def test_a_controller_that_leads_is_in_the_way(tmp_path: Path) -> None:
    path, file = tmp_path / "store.db", tmp_path / "backup"
    async with opened(path) as store:
        truth = await stock(store)

        async def work(_tenure: Tenure) -> None:
            await stores.backup(url(path), file, on_progress=quiet)  # a backup needs no rest
            with pytest.raises(Refused, match="a controller leads"):
                await stores.restore(file, url(path), replace=True, on_progress=quiet)
            with pytest.raises(Refused, match="a controller leads"):
                await stores.migrate(url(path), url(tmp_path / "new.db"), replace=True, on_progress=quiet)

        await Candidate(store, BootClock(), "c1").reign(work)
        assert await held(store) == truth
    assert not (tmp_path / "new.db").exists()


def spoilt(raw: bytes, rng: random.Random, how: str) -> bytes:
    at = rng.randrange(len(raw))
    lines = raw.splitlines(keepends=True)
    pick = rng.randrange(1, len(lines) - 1)
    return {
        "cut short": raw[:at],
        "a byte changed": raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :],
        "a line lost": b"".join(lines[:pick] + lines[pick + 1 :]),
        "a line twice": b"".join([*lines[:pick], lines[pick], *lines[pick:]]),
        "something added": raw + b"\n",
        "another file": b"\x1f\x8b" + raw,
        "empty": b"",
        "newer": raw.replace(b"backup/1", b"backup/2", 1),
        "one endless line": b"x" * 3_000_000,
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "cut short",
        "a byte changed",
        "a line lost",
        "a line twice",
        "something added",
        "another file",
        "empty",
        "newer",
        "one endless line",
    ],
)
async def test_a_file_that_is_not_whole_is_never_restored(tmp_path: Path, how: str) -> None:
    file, target = tmp_path / "backup", tmp_path / "new.db"

    async def entries() -> AsyncIterator[Entry]:
        for n in range(40):
            yield Entry(f"k/{n:02}", b"value %d" % n, n)

    assert await backup_file.write(file, Head(backup_file.FORMAT, 7, 1, 0.0), entries()) == 40
    raw = file.read_bytes()
    for seed in range(25):
        file.write_bytes(spoilt(raw, random.Random(f"{how}{seed}"), how))
        with pytest.raises(Refused):
            await stores.restore(file, url(target), replace=True, on_progress=quiet)
    assert not target.exists()
    file.write_bytes(raw)
    assert (await stores.restore(file, url(target), replace=False, on_progress=quiet)).entries == 40


def stuck_at(path: Path, key: str) -> None:
    """Nobody gets past this entry, who writes them in order: a query without an end begins there."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript(
            "create view endless as with recursive n(i) as (select 1 union all select i + 1 from n) select i from n;"
            f"create trigger stuck before insert on entry when new.key = '{key}' begin "
            "select count(*) from endless; end;"
        )


def freed(path: Path) -> None:
    """And now they do."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.executescript("drop trigger stuck; drop view endless;")


async def test_a_restore_that_was_killed_leaves_a_mark_and_can_be_done_again(tmp_path: Path) -> None:
    full, file, target = tmp_path / "full.db", tmp_path / "backup", tmp_path / "target.db"
    async with opened(full) as store:
        truth = {f"k/{n:05}": b"x" * 3000 for n in range(4000)}
        keys = list(truth)
        for first in range(0, len(keys), 100):
            await store.commit(*(create(key, truth[key]) for key in keys[first : first + 100]))
    await stores.backup(url(full), file, on_progress=quiet)
    async with opened(target):
        stuck_at(target, "k/02000")
    argv = [sys.executable, "-m", "segue", "store", "restore", str(file), "--store", url(target)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        async with (
            asyncio.timeout(LIMIT_S),
            opened(target) as store,
            contextlib.aclosing(store.watch("k/", 0)) as batches,
        ):
            await anext(batch async for batch in batches if batch.events)
            process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait(LIMIT_S)
    assert process.returncode == -signal.SIGKILL
    async with opened(target) as store:
        assert 0 < len(await held(store)) < 4000
        with pytest.raises(Refused, match="not finished"):
            await transfer.demand_usable(store)
        if holder := await store.get(HOLDER):
            await store.commit(delete(holder))  # seconds later it goes by itself
    freed(target)
    with pytest.raises(Refused, match="not empty"):
        await stores.restore(file, url(target), replace=False, on_progress=quiet)
    await stores.restore(file, url(target), replace=True, on_progress=quiet)
    async with opened(target) as store:
        assert await held(store) == truth
        await transfer.demand_usable(store)


@pytest.mark.lab
async def test_a_fleet_moves_to_etcd_and_back(rig: Rig, tmp_path: Path) -> None:
    if not isinstance(rig, EtcdRig):
        pytest.skip("needs both")
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    place = rig.cluster.place(rig.prefix)
    there = ",".join(endpoint.removeprefix("https://") for endpoint in place.endpoints)
    options = f"ca={place.ca}&cert={place.cert}&key={place.key}&user={place.user}&password-file={place.password_file}"
    etcd = f"etcd://{there}/{rig.prefix}?{options}"
    async with opened(old) as store:
        truth = await stock(store)
    first = await stores.migrate(url(old), etcd, replace=False, on_progress=quiet)
    assert await held(rig.open()) == truth
    async with opened(old) as store:
        with pytest.raises(Refused, match="was migrated to etcd://"):
            await transfer.demand_usable(store)
    with pytest.raises(Refused, match="was migrated"):
        await stores.migrate(url(old), url(new), replace=False, on_progress=quiet)
    await transfer.demand_usable(rig.open())
    second = await stores.migrate(etcd, url(old), replace=True, on_progress=quiet)
    assert (first.entries, first.bytes, first.digest) == (second.entries, second.bytes, second.digest)
    assert second.epoch > first.epoch
    async with opened(old) as store:
        assert await held(store) == truth
        await transfer.demand_usable(store)
    assert os.path.exists(old)
