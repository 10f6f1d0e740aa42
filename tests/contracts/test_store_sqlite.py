"""What only a file can suffer: other processes, a full disk, a disk that cannot be written, another program's file."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segue.adapters.store.sqlite import file
from segue.adapters.store.sqlite.store import SqliteStore
from segue.engine import certainty
from segue.errors import Kind, Refused
from segue.model.store import Away, Conflict, LeaseGone, OutcomeUnknown, create, delete, replace
from tests.contracts.rigs import everything

LIMIT_S = 20.0
WRITER = """
import asyncio, sys
from pathlib import Path
from segue.adapters.store.sqlite import file
from segue.adapters.store.sqlite.store import SqliteStore
from segue.model import store as nouns

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    async def one(worker):
        n = 0
        while True:
            n += 1
            revision = await store.commit(nouns.create(f"k/{worker}-{n}", b"x" * 300))
            print(f"k/{worker}-{n} {revision}", flush=True)
    await asyncio.gather(*(one(worker) for worker in range(8)))

asyncio.run(main())
"""
COUNTER = """
import asyncio, sys
from pathlib import Path
from segue.adapters.store.sqlite import file
from segue.adapters.store.sqlite.store import SqliteStore
from segue.model import store as nouns

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    for _ in range(40):
        while True:
            now = await store.get("n")
            try:
                await store.commit(nouns.replace(now, str(int(now.value) + 1).encode()))
                break
            except nouns.Conflict:
                continue
    await store.close()

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path)
    try:
        yield store
    finally:
        await store.close()


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        told = [process.stdout.readline().split() for _ in range(60)]
        process.kill()
        told += [line.split() for line in process.stdout.read().splitlines() if line.count(" ") == 1]
        process.wait(LIMIT_S)
        async with opened(path) as store:
            found = await everything(store)
            assert {key: found[key].revision for key, _ in told} == {key: int(number) for key, number in told}
            await asyncio.gather(*(store.commit(delete(entry)) for entry in found.values()))
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("pragma integrity_check").fetchone() == ("ok",)


async def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with opened(path) as store:
        await store.commit(create("n", b"0"))
        seen: list[bytes] = []

        async def watch() -> None:
            async for batch in store.watch("n", 0):
                seen.extend(event.entry.value for event in batch.events if event.entry)
                if seen[-1] == b"120":
                    return

        watching = asyncio.create_task(watch())
        argv = [sys.executable, "-c", COUNTER, str(path)]
        processes = [await asyncio.create_subprocess_exec(*argv) for _ in range(3)]
        async with asyncio.timeout(60):
            assert [await process.wait() for process in processes] == [0, 0, 0]
            await watching
        assert seen == [str(n).encode() for n in range(121)]


def test_a_file_is_made_by_several_at_once(tmp_path: Path) -> None:
    """Who looks at it while another makes it must not take it for another program's."""
    begin = threading.Barrier(4)

    def make(path: Path) -> None:
        begin.wait(LIMIT_S)
        file.connect(path).close()

    with ThreadPoolExecutor(4) as pool:
        for number in range(100):
            made = [pool.submit(make, tmp_path / f"{number}.db") for _ in range(4)]
            assert [one.result() for one in made] == [None] * 4


def test_a_copy_that_lost_the_journals_mode_gets_it_again(tmp_path: Path) -> None:
    made, copy = tmp_path / "store.db", tmp_path / "copy.db"
    with contextlib.closing(file.connect(made)) as db:
        db.execute(f"vacuum into '{copy}'")
    with contextlib.closing(sqlite3.connect(copy)) as db:
        assert db.execute("pragma journal_mode").fetchone() == ("delete",)
    with contextlib.closing(file.connect(copy)) as db:
        assert db.execute("pragma journal_mode").fetchone() == ("wal",)


@contextlib.contextmanager
def no_room(path: Path) -> Iterator[None]:
    """The kernel refuses every write beyond the log's present size, with an error that says nothing of its cause."""
    size = path.with_name(path.name + "-wal").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_an_input_output_error_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.db") as store:
        await store.commit(create("a", b"1"))
        with no_room(tmp_path / "store.db"), pytest.raises(OutcomeUnknown) as caught:
            await store.commit(create("b", b"x" * 10_000))
        assert set(await everything(store)) == {"a"}
        revision = await certainty.make_sure(store, caught.value)
        assert (await everything(store))["b"].revision == revision


async def test_leases_of_an_earlier_boot_get_their_time_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    now_s = 10_000.0
    store = SqliteStore(path, lambda: now_s)
    lease = await store.lease(30.0)
    await store.commit(create("a", b"", lease.id))
    await store.close()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("update lease set boot = 'an earlier one'")
    now_s = 5.0
    async with opened(path):
        pass
    store = SqliteStore(path, lambda: now_s)
    await store.commit(create("b", b""))
    now_s = 34.0
    assert set(await everything(store)) == {"a", "b"}
    now_s = 35.5
    assert set(await everything(store)) == {"b"}
    with pytest.raises(LeaseGone):
        await store.keep_alive(lease)
    await store.close()


@pytest.mark.parametrize("spoil", ["text", "foreign", "newer", "folder"])
def test_a_file_that_is_no_store_is_refused_and_not_touched(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "store.db"
    if spoil == "text":
        path.write_bytes(b"this is no database" * 100)
    elif spoil == "folder":
        path.mkdir()
    else:
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("create table t (x)")
            if spoil == "newer":
                db.execute(f"pragma application_id={0x5E60E51}")
                db.execute("pragma user_version=99")
    before = path.read_bytes() if path.is_file() else b""

    async def open_it() -> None:
        SqliteStore(path)

    with pytest.raises(Refused, match=r"store\.db"):
        asyncio.run(open_it())
    assert before == (path.read_bytes() if path.is_file() else b"")


async def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "folder" / "store.db") as store:
        await store.commit(create("token", b"secret"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "folder").iterdir()}
    assert set(modes.values()) == {0o600}, modes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "segue-test", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.lab
async def test_a_full_disk_is_told_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "store.db"
    async with opened(path) as store:
        done: list[str] = []

        async def fill() -> None:
            for n in range(200):
                await store.commit(create(f"k{n}", b"x" * 20_000))
                done.append(f"k{n}")

        with pytest.raises(Away, match="full") as caught:
            await fill()
        assert "Free space" in caught.value.todo
        assert 5 < len(done) < 60
        assert list(await everything(store)) == sorted(done)
        with pytest.raises(Conflict):
            await store.commit(create("k0", b""))
        subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
        await store.commit(create("later", b"x" * 20_000))
    async with opened(path) as store:
        assert list(await everything(store)) == [*sorted(done), "later"]


@pytest.mark.lab
async def test_a_disk_that_became_read_only_is_told_and_loses_nothing(small_disk: Path) -> None:
    path = small_disk / "store.db"
    async with opened(path) as store:
        await store.commit(create("a", b"1"))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(Away, match=r"(?i)read-only"):
        SqliteStore(path)
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    async with opened(path) as store:
        entry = await store.get("a")
        assert entry is not None
        await store.commit(replace(entry, b"2"))
        assert (await everything(store))["a"].value == b"2"


async def test_another_program_that_holds_the_file_is_waited_for_and_then_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file, "BUSY_S", 1.0)
    path = tmp_path / "store.db"
    async with opened(path) as store:
        await store.commit(create("a", b"1"))
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("begin immediate")
            waiting = asyncio.create_task(store.commit(create("b", b"1")))
            assert (await store.get("a")) is not None
            db.execute("rollback")
            await waiting
            db.execute("begin immediate")
            with pytest.raises(Away) as caught:
                await store.commit(create("c", b"1"))
            assert caught.value.kind is Kind.TIMEOUT
            db.execute("rollback")
        assert set(await everything(store)) == {"a", "b"}
