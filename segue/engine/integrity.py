"""Compares the guest's memory on both hosts while both copies stand: before the guest is given away, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from segue.engine.run import Run
from segue.errors import Aborted, SegueError
from segue.model.integrity import DISK_BLOCK_BYTES, Blocks, Digests, Verification, Verify
from segue.policy import convergence, integrity

T = TypeVar("T")
SAMPLE_SHARE = 0.2
"""Of the blackout's budget: a sample that takes longer is left out."""
SHOWN = 4
"""Differing ranges that an error names."""


ASK_AHEAD_S = 5.0
"""The target is asked so long, at most, before the guest stands."""


@dataclass(frozen=True)
class Comparison:
    """What is compared, and both sides' digests on their way."""

    blocks: Blocks
    theirs: asyncio.Task[Digests]
    ours: asyncio.Task[Digests] | None = None
    """None for what can only be read once all is copied: the memory of an application."""


async def choose(run: Run) -> Blocks | None:
    """What will be compared; chosen while the guest still runs, because it costs time. None: nothing."""
    limits, number = run.record.now.limits, run.record.now.id
    if limits.verify is Verify.OFF:
        return None
    if run.record.now.post_copy:
        _keep(
            run, Verification(limits.verify, note="post-copy: it ran before its memory was there to compare")
        )
        return None
    within_s = convergence.completion_limit_s(limits, run.record.now.progress)
    if limits.verify is Verify.FULL:
        extent = await run.here.extent(integrity.BLOCK_BYTES)
        return Blocks(number, integrity.BLOCK_BYTES, extent, within_s)
    pages = await run.here.sample(integrity.sample_pages(limits.blackout_s))
    return Blocks(number, integrity.PAGE_BYTES, pages, within_s) if pages else None


def ask(run: Run, blocks: Blocks | None) -> Comparison | None:
    """While the guest still runs: the target gets ready, and answers when its copy is complete."""
    if blocks is None:
        return None
    asked = replace(blocks, within_s=blocks.within_s + ASK_AHEAD_S)
    return Comparison(blocks, _begun(run.peer.digest(run.guest.uuid, asked, within_s=asked.within_s)))


def read(run: Run, asked: Comparison | None) -> Comparison | None:
    """For a machine that stands: what it holds does not change any more, and is read while the last of it is copied."""
    if asked is None or run.guest.is_app:
        return asked
    return replace(asked, ours=_begun(run.here.digest(asked.blocks)))


async def verify(run: Run, comparison: Comparison | None, within_s: float) -> None:
    """Raises Aborted where the copies differ, and where all was to be compared and the budget is over before it is.

    A target that cannot compare, or not soon enough, is no reason to give up for a sample: it is left out, and said.
    """
    if comparison is None:
        return
    mode, begun_s, blocks = run.record.now.limits.verify, run.clock.steady_s(), comparison.blocks
    try:
        if mode is Verify.SAMPLE:
            within_s = min(within_s, SAMPLE_SHARE * run.record.now.limits.blackout_s)
        async with asyncio.timeout(max(within_s, 0.001)):
            ours = await (comparison.ours or run.here.digest(blocks))
            theirs = await comparison.theirs
            disk_bytes = await _compare_disks(run, within_s) if mode is Verify.FULL else 0
    except TimeoutError as error:
        if mode is Verify.FULL:
            raise _too_slow(run, mode) from error
        _leave_out(run, "it did not answer soon enough")
        return
    except (SegueError, ConnectionError) as error:
        if mode is Verify.FULL:
            raise
        _leave_out(run, error.why if isinstance(error, SegueError) else str(error))
        return
    at = blocks.offsets or tuple(integrity.offsets(run.guest.memory_bytes, blocks.block_bytes))
    if wrong := integrity.differing(at, ours.values, theirs.values):
        raise await _corrupt(run, blocks, wrong)
    covered = min(len(at) * blocks.block_bytes, run.guest.memory_bytes)
    _keep(run, Verification(mode, covered, run.clock.steady_s() - begun_s, disk_bytes=disk_bytes))


async def _compare_disks(run: Run, within_s: float) -> int:
    """Bytes of disk that are equal on both hosts. Raises Aborted where they are not."""
    migration = run.record.now
    if not migration.copied_before:
        return 0
    disks = tuple(copy.disk for copy in migration.copies)
    there = _begun(run.peer.digest_disks(run.guest.uuid, migration.id, disks, within_s=within_s))
    ours, theirs = await run.disks.digest(), await there
    for disk in disks:
        over = theirs[disk.id].values if disk.id in theirs else ()
        at = range(0, disk.size_bytes, DISK_BLOCK_BYTES)
        if wrong := integrity.differing(at, ours[disk.id].values, over):
            raise _unequal(run, f"its disk {disk.path}", integrity.ranges(wrong, DISK_BLOCK_BYTES))
    return sum(disk.size_bytes for disk in disks)


def _leave_out(run: Run, why: str) -> None:
    migration = run.record.now
    _keep(run, Verification(migration.limits.verify, note=f"{migration.target} did not compare: {why}"))


def _begun(reading: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    task = asyncio.create_task(reading)
    task.add_done_callback(_hear)  # Where the copy itself fails nobody waits for it.
    return task


def _hear(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def _keep(run: Run, verification: Verification) -> None:
    run.record.remember(replace(run.record.now.outcome, verification=verification))


async def _corrupt(run: Run, blocks: Blocks, wrong: tuple[int, ...]) -> Aborted:
    """Which pages differ: the guest is not given away any more, so there is time for one closer look."""
    step = blocks.block_bytes
    if step > integrity.PAGE_BYTES:
        inside = range(wrong[0], wrong[0] + step, integrity.PAGE_BYTES)
        closer = Blocks(blocks.migration, integrity.PAGE_BYTES, tuple(inside))
        try:
            there = _begun(run.peer.digest(run.guest.uuid, closer, within_s=1.0))
            ours, theirs = await run.here.digest(closer), await there
            pages = integrity.differing(inside, ours.values, theirs.values)
        except (SegueError, ConnectionError, TimeoutError):
            pages = ()
        if pages:
            wrong, step = pages, integrity.PAGE_BYTES
    return _unequal(run, "its memory", integrity.ranges(wrong, step))


def _unequal(run: Run, whose: str, spans: tuple[tuple[int, int], ...]) -> Aborted:
    named = ", ".join(integrity.name(first, end) for first, end in spans[:SHOWN])
    more = f" and {len(spans) - SHOWN} more ranges" if len(spans) > SHOWN else ""
    return Aborted(
        what=f"{run.guest.name} was not moved",
        why=f"{whose} on {run.record.now.target} is not what it is on {run.record.now.source}: "
        f"bytes {named}{more} differ",
        todo=f"The guest runs on, unharmed. Look at the memory, the disks and the network card of "
        f"{run.record.now.target} before anything is moved there.",
    )


def _too_slow(run: Run, mode: Verify) -> Aborted:
    return Aborted(
        what=f"{run.guest.name} was not moved",
        why=f"comparing its memory ({mode}) did not end within the blackout budget",
        todo="Allow a longer pause with --max-blackout, or compare less: --verify sample, --verify off.",
    )
