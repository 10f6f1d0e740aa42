"""Fills one store from another, or from a backup: under the right to lead, so that no controller works on half of it.

Nothing is changed before all that can be refused was refused. From then on a mark stands in the store that is being
filled until it was compared, key by key; no controller may lead from a store that has one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from segue.engine import certainty
from segue.engine.clock import Clock
from segue.engine.leadership import Candidate
from segue.engine.store import Store
from segue.errors import Kind, Refused, SegueError, Unknown
from segue.model import store as nouns
from segue.model.leadership import EPOCH, HOLDER, Tenure
from segue.model.store import Change, Entry, Fence, OutcomeUnknown
from segue.policy import leadership

MARKS: Final = "transfer/"
UNFINISHED: Final = f"{MARKS}unfinished"
MOVED: Final = f"{MARKS}moved"
OWN: Final = ("leader/", MARKS, "certainty/")
"""What belongs to a store itself, and is never copied."""
AT_ONCE: Final = 8
WIN_S: Final = 10.0
TTL_S: Final = 15.0
"""Longer than a controller's: nobody waits for the seat, and a store that is slow while it is filled stays ours."""

Work = Callable[[Tenure], Awaitable[None]]
Source = Callable[[], AsyncIterator[Entry]]
"""Gives the same entries, in the order of their keys, each time it is asked."""
Progress = Callable[[str, int], None]
"""What is being done, and how many entries so far."""


@dataclass(frozen=True)
class Copied:
    """`digest` is over all keys and values in order, and was computed from both sides."""

    entries: int
    bytes: int
    digest: str


async def demand_usable(store: Store) -> None:
    """Raises Refused for a store that no controller may lead from."""
    found = [entry for key in (UNFINISHED, MOVED) if (entry := await store.get(key)) is not None]
    demand_unmarked({entry.key: entry.value for entry in found})


def demand_unmarked(marks: Mapping[str, bytes], kind: Kind = Kind.CONFLICT) -> None:
    """The same, for whoever knows what stands under MARKS already: by key."""
    if UNFINISHED in marks:
        raise _refused(
            "a restore or a migration into it was not finished", "Do it again, with --replace.", kind
        )
    if (moved := marks.get(MOVED)) is not None:
        where = moved.decode(errors="replace")
        todo = "Use that one, or migrate back with --replace."
        raise _refused(f"it was migrated to {where}", todo, kind)


async def last_epoch(store: Store) -> int:
    """The leader epoch that agents may have heard at most."""
    entry = await store.get(EPOCH)
    return int(entry.value) if entry else 0


async def snapshot(store: Store) -> tuple[int, AsyncIterator[Entry]]:
    """A revision, and what a fleet kept in the store then, in the order of the keys; nothing bound to a lease."""
    pages = store.list("")
    first = await anext(pages)

    async def entries() -> AsyncIterator[Entry]:
        async with contextlib.aclosing(pages):
            for entry in filter(_is_content, first.entries):
                yield entry
            async for page in pages:
                for entry in filter(_is_content, page.entries):
                    yield entry

    return first.revision, entries()


async def content(store: Store) -> AsyncIterator[Entry]:
    """The same, as it is now."""
    _, entries = await snapshot(store)
    async for entry in entries:
        yield entry


def _is_content(entry: Entry) -> bool:
    return not entry.lease and not entry.key.startswith(OWN)


async def demand_ready(target: Store, *, replace: bool) -> None:
    """All that can be said against filling it, before it is begun. Raises Refused."""
    await demand_idle(target)
    if replace:
        return
    async for page in target.list(""):
        if any(not entry.key.startswith(OWN) for entry in page.entries) or await target.get(UNFINISHED):
            raise _refused(
                "it is not empty", "Choose an empty store, or say --replace to lose what is in it."
            )


async def demand_idle(store: Store) -> None:
    """Raises Refused while a controller leads from it."""
    if await store.get(HOLDER):
        raise _refused(
            "a controller leads from it",
            f"Stop all controllers; {TTL_S:.0f} s later at most it is free.",
            Kind.CONFLICT,
        )


async def lead(store: Store, clock: Clock, work: Work, seen_by_agents: int = 0) -> None:
    """Does the work as the fleet's leader. Raises Unknown where it broke off in the middle."""
    finished = False

    async def watched(tenure: Tenure) -> None:
        nonlocal finished
        limit.reschedule(None)
        try:
            await work(tenure)
        except SegueError as error:
            raise _in_part(str(error)) from error
        finished = True

    try:
        async with asyncio.timeout(WIN_S) as limit:
            await Candidate(store, clock, "segue store", TTL_S).reign(watched, seen_by_agents)
    except TimeoutError as error:
        raise _refused("another leads from it", "Stop all controllers.", Kind.TIMEOUT) from error
    if not finished:
        raise _in_part("the store did not confirm in time that nobody else leads")


async def fill(target: Store, source: Source, fence: Fence, on_progress: Progress) -> Copied:
    """Makes the target hold what the source gives, and nothing else; compared at the end."""
    if await target.get(UNFINISHED) is None:
        await _commit(target, fence, nouns.create(UNFINISHED, b""))
    await _in_commits(target, fence, _deletions(target), lambda count: on_progress("deleting", count))
    await _in_commits(target, fence, _creations(source()), lambda count: on_progress("writing", count))
    on_progress("comparing", 0)
    there, here = await _sum(source()), await _sum(content(target))
    if here != there:
        raise _in_part(f"{here.entries} entries are there and {there.entries} should be, or they differ")
    mark = await target.get(UNFINISHED)
    assert mark is not None
    await _commit(target, fence, nouns.delete(mark))
    return here


async def close_behind(source: Store, fence: Fence, moved_to: str) -> None:
    """No controller leads from this store any more: it would not know what is decided in the other."""
    await _commit(source, fence, nouns.create(MOVED, moved_to.encode()))


async def _deletions(target: Store) -> AsyncIterator[Change]:
    async for entry in content(target):
        yield nouns.delete(entry)
    if (moved := await target.get(MOVED)) is not None:
        yield nouns.delete(moved)


async def _creations(entries: AsyncIterator[Entry]) -> AsyncIterator[Change]:
    async for entry in entries:
        yield nouns.create(entry.key, entry.value)


async def _in_commits(
    store: Store, fence: Fence, changes: AsyncIterator[Change], done: Callable[[int], None]
) -> None:
    """As few commits as the bounds allow, a few of them under way at the same time."""
    tasks: set[asyncio.Task[int]] = set()
    count = 0
    try:
        async for group in _groups(changes):
            if len(tasks) >= AT_ONCE:
                ended, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
            tasks.add(asyncio.create_task(_commit(store, fence, *group)))
            count += len(group)
            done(count)
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _groups(changes: AsyncIterator[Change]) -> AsyncIterator[list[Change]]:
    group: list[Change] = []
    size = 0
    async for change in changes:
        more = len(change.key) + len(change.value or b"")
        if len(group) == nouns.CHANGES or (group and size + more > nouns.COMMIT_BYTES):
            yield group
            group, size = [], 0
        group.append(change)
        size += more
    if group:
        yield group


async def _commit(store: Store, fence: Fence, *changes: Change) -> int:
    try:
        return await store.commit(*changes, fence=fence)
    except OutcomeUnknown as unknown:
        return await certainty.make_sure(store, unknown)


async def _sum(entries: AsyncIterator[Entry]) -> Copied:
    digest, count, size = hashlib.sha256(), 0, 0
    async for entry in entries:
        digest.update(f"{len(entry.key)} {len(entry.value)} {entry.key}".encode())
        digest.update(entry.value)
        count, size = count + 1, size + len(entry.value)
    return Copied(count, size, digest.hexdigest())


def epoch_for(last: int) -> int:
    """What a store that is filled has to outbid: leaders since the backup, of which it knows nothing."""
    return last + leadership.EPOCHS_LEFT_OUT


def _refused(why: str, todo: str, kind: Kind = Kind.CONFLICT) -> Refused:
    return Refused(what="cannot use the store", why=why, todo=todo, kind=kind)


def _in_part(why: str) -> Unknown:
    return Unknown(
        what="the store was filled only in part",
        why=why,
        todo="Do the same again, with --replace; until then no controller leads from it.",
        kind=Kind.UNREACHABLE,
    )
