"""A step of stage 3: the guest runs on the target, and its memory comes after it. The source must live until then."""

from __future__ import annotations

from dataclasses import replace

import structlog

from segue.engine import placing
from segue.engine.run import Run
from segue.errors import Lost, SegueError
from segue.model.arrival import Flow, Presence, Serving
from segue.policy import postcopy
from segue.policy.postcopy import Duty

log = structlog.get_logger()

LOOK_S = 1.0
UNSET = -1
STEP = "serve pages"
BROKEN = "path lost, waiting to go on"
ENDS = frozenset({Duty.FINISH, Duty.DECLARE_LOST, Duty.MOURN})


async def serve_pages(run: Run) -> None:
    """Answers for every page that the target lacks until it has all; a broken path is mended, again and again."""
    if run.record.now.post_copy and not has_lost(run):
        await _serve(run)


async def _serve(run: Run) -> None:
    await run.network.mute()
    await run.clock.rest(postcopy.FIRST_S)
    seen, begun_s = Serving(Flow.FLOWING), run.clock.steady_s()
    moved_s, pace = begun_s, UNSET
    while True:
        pace = await _paced(run, pace, run.clock.steady_s() - begun_s)
        before, seen = seen, await run.here.serving()
        if seen.transferred_bytes != before.transferred_bytes or seen.flow is not Flow.FLOWING:
            moved_s = run.clock.steady_s()
        there = await _ask(run)
        duty = postcopy.duty(seen, there, run.clock.steady_s() - moved_s)
        if duty in ENDS:
            return await _end(run, duty, seen)
        await _do(run, duty, seen, pace)
        pace = pace if duty is Duty.SERVE else UNSET  # Another connection does not know of it.


async def _paced(run: Run, pace: int, since_s: float) -> int:
    """Has the background go on at the pace that is right by now; which it is."""
    migration = run.record.now
    path = migration.forecast.path_bytes_per_s if migration.forecast else 0.0
    wanted = postcopy.background_bytes_per_s(path, migration.limits.bandwidth_bytes_per_s, since_s)
    if wanted != pace:
        await run.here.serve_all(wanted, placing.landing(run).memory_address)
    return wanted


async def _end(run: Run, duty: Duty, seen: Serving) -> None:
    if duty is Duty.FINISH:
        await _note_brownout(run, seen)
    elif duty is Duty.DECLARE_LOST:
        await _declare_lost(run)
    else:
        run.record.failed(_ended_there(run))


async def _do(run: Run, duty: Duty, seen: Serving, pace: int) -> None:
    if duty is Duty.SERVE:
        _show(run, seen)
        return await run.clock.rest(postcopy.look_in_s(seen.remaining_bytes, pace, LOOK_S))
    if run.record.now.step != BROKEN:
        log.warning("the path of a post-copy is broken", migration=run.record.now.id, guest=run.guest.name)
        run.record.at_step(BROKEN)
    if duty is Duty.LET_GO:
        await run.here.let_go()
    elif duty is Duty.WAIT or not await _reconnected(run):
        await run.clock.rest(LOOK_S)
    return None


def has_lost(run: Run) -> bool:
    """True once the guest was declared lost; what is left of the migration is to clear up."""
    failure = run.record.now.failure
    return failure is not None and failure.consequence == Lost.consequence


async def _ask(run: Run) -> Presence | None:
    try:
        return await run.peer.arrival(run.guest.uuid, run.record.now.id)
    except (ConnectionError, TimeoutError):
        return None


async def _reconnected(run: Run) -> bool:
    """One try; there is another until one succeeds."""
    try:
        address = await run.peer.reopen(run.guest.uuid, run.record.now.id)
    except (ConnectionError, TimeoutError, SegueError) as error:
        log.info("the target does not listen again yet", migration=run.record.now.id, error=str(error))
        return False
    if not await run.here.reconnect(address):
        return False
    run.record.landing(replace(placing.landing(run), memory_address=address))
    outcome = run.record.now.outcome
    run.record.outcome(replace(outcome, path_breaks=outcome.path_breaks + 1))
    run.record.at_step(STEP)
    return True


async def _declare_lost(run: Run) -> None:
    """Our memory is gone. The target is told, and decides: it may have had all of it just before."""
    migration = run.record.now
    there = await run.peer.memory_lost(run.guest.uuid, migration.id)
    if there.flow is Flow.WHOLE:
        return
    run.record.failed(
        Lost(
            what=f"{migration.guest} is lost",
            why=f"it ran on {migration.target} while its memory was still on {migration.source}, and the QEMU that "
            f"held it on {migration.source} has ended",
            todo=f"What was only in its memory is gone. Start it from its disk when you have looked at it: "
            f"`segue vm start {migration.guest}`.",
        )
    )


def _ended_there(run: Run) -> Lost:
    migration = run.record.now
    return Lost(
        what=f"{migration.guest} ended on {migration.target}",
        why=f"its QEMU there ended while memory still came from {migration.source}",
        todo=f"What was only in its memory is gone. Look why with `segue vm show {migration.guest}`, "
        f"then start it from its disk: `segue vm start {migration.guest}`.",
    )


def _show(run: Run, seen: Serving) -> None:
    if run.record.now.step != STEP:
        run.record.at_step(STEP)
    run.record.progress(
        replace(
            run.record.now.progress,
            total_bytes=seen.total_bytes,
            remaining_bytes=seen.remaining_bytes,
            transferred_bytes=seen.transferred_bytes,
            link_bytes_per_s=seen.link_bytes_per_s,
            dirty_bytes_per_s=0.0,
        )
    )


async def _note_brownout(run: Run, seen: Serving) -> None:
    """What the guest waited for pages, as the target's QEMU counted it; unknown where its agent gives no answer."""
    _show(run, seen)
    there = await _ask(run)
    outcome = run.record.now.outcome
    run.record.outcome(
        replace(
            outcome,
            pages_asked=seen.asked_pages,
            page_wait_s=there.blocked_s if there is not None else 0.0,
            serving_s=run.clock.wall_s() - run.record.now.settling_at_s,
        )
    )
