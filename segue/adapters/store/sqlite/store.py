"""A fleet's store in one SQLite file, for the processes of one host. It must never be put on a network file system."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sqlite3
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from segue.adapters import clock
from segue.adapters.store.sqlite import file, rows, writer
from segue.model import store as nouns
from segue.model.store import Batch, Change, Commit, Entry, Fence, Lease, OutcomeUnknown, Page

T = TypeVar("T")
PAGE: Final = 2000
LOOK_S: Final = 0.1
"""How often is looked for what other processes wrote, and for leases that are over."""


class SqliteStore:
    """Port `Store`. To be made inside the event loop that uses it."""

    def __init__(self, path: Path, now_s: Callable[[], float] = clock.since_boot_s) -> None:
        self._path = path
        self._now_s = now_s
        self._writer = writer.Writer(path, now_s, self._tell)
        self._reader = file.connect(path)
        self._readers = ThreadPoolExecutor(1, "store-reader")
        self._news = asyncio.Event()
        self._version = 0
        self._seen = rows.revision(self._reader)
        self._closed = False
        self._looking = asyncio.create_task(self._look())

    async def get(self, key: str) -> Entry | None:
        """See the port."""
        return await self._read(lambda db: rows.get(db, key))

    async def list(self, prefix: str) -> AsyncGenerator[Page, None]:
        """See the port. The pages come out of one transaction of a connection of their own."""
        await self._end_due()
        db = await self._in_thread(lambda: file.connect(self._path))
        try:
            await self._in_thread(lambda: db.execute("begin"))
            revision = await self._in_thread(lambda: rows.revision(db))
            last, entries = "", await self._in_thread(lambda: rows.page(db, prefix, "", PAGE))
            yield Page(revision, entries)
            while len(entries) == PAGE:
                last = entries[-1].key
                entries = await self._in_thread(lambda: rows.page(db, prefix, last, PAGE))  # noqa: B023
                yield Page(revision, entries)
        finally:
            db.close()

    async def commit(self, *changes: Change, fence: Fence | None = None, tag: str = "") -> int:
        """See the port."""
        wish = Commit(tag or secrets.token_urlsafe(16), changes, fence)
        nouns.demand_lawful(wish)
        since = self._seen

        def act(db: sqlite3.Connection) -> int:
            return (rows.done_before(db, tag) if tag else 0) or rows.apply(db, wish)

        number = await self._write(act, lambda why: OutcomeUnknown(wish, why, since))
        self._seen = max(self._seen, number)
        return int(number)

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """See the port."""
        while True:
            news = self._news  # taken before looking, so that nothing is missed in between
            seen = await self._read(lambda db: rows.events(db, prefix, after))  # noqa: B023
            if seen.revision > after:
                after = seen.revision
                yield seen
            else:
                await news.wait()

    async def lease(self, ttl_s: float) -> Lease:
        """See the port."""
        nouns.demand_lawful_ttl(ttl_s)
        lease = Lease(secrets.randbits(62) + 1, ttl_s)
        await self._write(lambda db: rows.grant(db, lease, self._now_s()))
        return lease

    async def keep_alive(self, lease: Lease) -> None:
        """See the port."""
        await self._write(lambda db: rows.prolong(db, lease, self._now_s()))

    async def revoke(self, lease: Lease) -> None:
        """See the port."""
        await self._write(lambda db: rows.end(db, [lease.id]))

    async def compact(self, upto: int) -> None:
        """Forgets what happened up to that revision; also done without being asked, see KEEP_REVISIONS."""
        await self._write(lambda db: rows.compact(db, upto))

    async def close(self) -> None:
        """See the port."""
        if self._closed:
            return
        self._closed = True
        self._looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._looking
        self._tell()
        await asyncio.to_thread(self._writer.stop)
        await asyncio.to_thread(self._readers.shutdown)
        self._reader.close()

    # How it is done

    async def _write(self, act: writer.Act, lost: writer.Lost | None = None) -> Any:
        self._demand_open()
        return await self._writer.do(act, lost or writer.nothing_lost(self._path))

    async def _read(self, act: Callable[[sqlite3.Connection], T]) -> T:
        self._demand_open()
        await self._end_due()

        def in_one_view() -> T:
            self._reader.execute("begin")
            try:
                return act(self._reader)
            finally:
                self._reader.execute("rollback")

        return await self._in_thread(in_one_view)

    async def _in_thread(self, act: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, act)
        except sqlite3.Error as error:
            raise file.away(self._path, error) from error

    async def _end_due(self) -> None:
        """Nobody reads a key whose lease is over; but for a full disk, on which it lasts longer."""
        if await self._in_thread(lambda: rows.due(self._reader, self._now_s())):
            with contextlib.suppress(nouns.Away):
                await self._write(lambda _db: None)

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            # A disk that is full or gone is told to whoever reads or writes; the look goes on until it is mended.
            with contextlib.suppress(nouns.Away):
                await self._end_due()
                (version,) = await self._in_thread(
                    lambda: self._reader.execute("pragma data_version").fetchone()
                )
                if version != self._version:
                    self._version = version
                    self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _demand_open(self) -> None:
        if self._closed:
            raise nouns.Away(
                what=f"the store {self._path} cannot be used", why="it was closed", todo="Open it again."
            )
