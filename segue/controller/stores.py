"""Where the type checker proves that the real stores fit the port, and what `segue store` does with two of them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from segue.adapters.clock import BootClock
from segue.adapters.store import backup_file, url
from segue.adapters.store.backup_file import Head
from segue.engine import transfer
from segue.engine.store import Store
from segue.engine.transfer import Copied, Progress
from segue.errors import Kind, Refused
from segue.model.leadership import Tenure
from segue.model.store import Entry


@dataclass(frozen=True)
class Done:
    """What came of it. `revision`: at which the source was read; 0: it was a file."""

    entries: int
    bytes: int
    revision: int
    digest: str
    epoch: int
    seconds: float


@contextlib.asynccontextmanager
async def opened(place: url.Place) -> AsyncIterator[Store]:
    """The store, for as long as it is needed."""
    store: Store = url.open_store(place)
    try:
        yield store
    finally:
        await store.close()


async def migrate(source: str, target: str, *, replace: bool, on_progress: Progress) -> Done:
    """Has a fleet go on in another store. Both are held, so that nobody leads meanwhile."""
    begun_s = time.monotonic()
    here, there = url.parse(source), url.parse(target)
    url.demand_exists(here)
    if url.same(here, there):
        raise Refused(
            what="nothing was migrated",
            why="both are the same store",
            todo="Name two different stores.",
            kind=Kind.USAGE,
        )
    found: list[Copied] = []
    async with contextlib.AsyncExitStack() as stack:
        old = await stack.enter_async_context(opened(here))
        await transfer.demand_usable(old)
        await transfer.demand_idle(old)
        revision, _ = await transfer.snapshot(old)
        new = await stack.enter_async_context(opened(there))
        await transfer.demand_ready(new, replace=replace)

        async def with_source(leads_old: Tenure) -> None:
            async def with_both(leads_new: Tenure) -> None:
                copied = await transfer.fill(new, lambda: transfer.content(old), leads_new.fence, on_progress)
                await transfer.close_behind(old, leads_old.fence, target.partition("?")[0])
                found.append(copied)

            await transfer.lead(new, BootClock(), with_both, transfer.epoch_for(leads_old.epoch))

        await transfer.lead(old, BootClock(), with_source)
        return await _done(found[0], new, revision, begun_s)


async def backup(source: str, path: Path, *, on_progress: Progress) -> Done:
    """Writes all that a fleet keeps into a file, as it was at one revision. Controllers may go on meanwhile."""
    begun_s = time.monotonic()
    place = url.parse(source)
    url.demand_exists(place)
    async with opened(place) as store:
        epoch = await transfer.last_epoch(store)
        revision, entries = await transfer.snapshot(store)
        count = 0

        async def counted() -> AsyncIterator[Entry]:
            nonlocal count
            async for entry in entries:
                count += 1
                on_progress("writing", count)
                yield entry

        await backup_file.write(path, Head(backup_file.FORMAT, revision, epoch, time.time()), counted())
    written = backup_file.check(path)
    return Done(
        written.entries, path.stat().st_size, revision, written.digest, epoch, time.monotonic() - begun_s
    )


async def restore(path: Path, target: str, *, replace: bool, on_progress: Progress) -> Done:
    """Makes a store hold what a backup does, and nothing else."""
    begun_s = time.monotonic()
    place, kept = url.parse(target), backup_file.check(path)
    found: list[Copied] = []
    async with opened(place) as store:
        await transfer.demand_ready(store, replace=replace)

        async def work(tenure: Tenure) -> None:
            found.append(await transfer.fill(store, kept.read, tenure.fence, on_progress))

        await transfer.lead(store, BootClock(), work, transfer.epoch_for(kept.head.epoch))
        return await _done(found[0], store, kept.head.revision, begun_s)


async def _done(copied: Copied, target: Store, revision: int, begun_s: float) -> Done:
    epoch = await transfer.last_epoch(target)
    return Done(copied.entries, copied.bytes, revision, copied.digest, epoch, time.monotonic() - begun_s)
