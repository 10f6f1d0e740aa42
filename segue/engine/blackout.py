"""Stage 2: the guest stands still. Nothing is done here that could be done before or after."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from segue.engine import integrity, storage
from segue.engine.run import Run
from segue.engine.timeline import Marks, Timeline, since
from segue.errors import Aborted
from segue.model.integrity import Blocks
from segue.model.landing import Handed
from segue.model.lifecycle import Event, Stage
from segue.policy import convergence

TELL_S = 0.02
"""To tell the target of new connections (our lab: 10 ms), as late as can be."""
NOTE_S = 0.05
LOOK_S_MAX = 5.0
"""What a last look finds is small; a path that does not take it by then is dead."""


class CameBack(Aborted):
    """The target's copy never ran: its agent gave the guest back, or the host was fenced."""


async def hand_off(run: Run) -> None:
    """Stops the guest, sends the rest, gives the token away. Run again, it only asks for the answer."""
    if run.custody.released(run.record.now.id):
        handed = await give(run)
    else:
        await run.here.go_first()
        try:
            handed = await _stop_and_give(run)
        finally:
            run.here.give_way()
    _note_blackout(run, handed)
    conclude(run)


async def _stop_and_give(run: Run) -> Handed:
    stood = await _stop_and_complete(run)
    noting = asyncio.create_task(_note_soon(run, stood))
    try:
        await integrity.verify(run, stood.comparison, within_s=stood.left_s)
        return await give(run)
    finally:
        noting.cancel()
        _note_standing(run, stood)


async def give(run: Run) -> Handed:
    """The token goes to the target, whose copy is whole. Raises CameBack."""
    migration = run.record.now
    handed = await run.custody.hand_over()
    if handed.returned:
        raise CameBack(
            what=migration.undone,
            why=f"the copy on {migration.target} never ran: it was lost, or QEMU refused to run it, and the guest "
            f"was given back; or {migration.target} was declared without power",
            todo=f"Look at {migration.target} and at QEMU's log there, then try again.",
        )
    return handed


def conclude(run: Run) -> None:
    """From here on there is only forward."""
    if run.record.now.stage is Stage.BLACKOUT:
        run.record.advance(Event.HANDED_OFF)


async def take_back(run: Run) -> None:
    """Undo of hand_off, never after the release. Frames find the old way before the guest runs again."""
    await run.disks.hang_up()
    if run.here.alive():
        await run.here.cancel_copy()
    await run.disks.stop()
    await run.network.clear()
    await run.custody.give_up()


@dataclass(frozen=True)
class _Stood:
    """How the guest came to stand, and is complete there."""

    stopped_at_s: float
    frames_rescued: int
    marks: Marks
    comparison: integrity.Comparison | None
    left_s: float
    """Of the longest that it may stand."""


async def _note_soon(run: Run, stood: _Stood) -> None:
    """To write takes time, too: of a handoff that goes well it is done when the guest runs again."""
    await run.clock.rest(NOTE_S)
    _note_standing(run, stood)


def _note_standing(run: Run, stood: _Stood) -> None:
    outcome = replace(
        run.record.now.outcome,
        stopped_at_s=stood.stopped_at_s,
        frames_rescued=stood.frames_rescued,
        timeline=since(stood.stopped_at_s, stood.marks),
    )
    run.record.remember(outcome)


async def _stop_and_complete(run: Run) -> _Stood:
    migration = run.record.now
    # Whoever is silent now would be silent when the guest is given to it.
    await run.peer.awake(run.guest.uuid, migration.id)
    if migration.stage is Stage.PREPARATION:
        run.record.advance(Event.CONVERGED)
    chosen = await integrity.choose(run)
    asked = await _best_moment(run, chosen)
    seen = Timeline(run.clock)
    seen.mark("begun")
    run.network.steer()
    seen.mark("steered")
    await run.network.drain()
    seen.mark("drained")
    asked_s = run.clock.steady_s()
    limit_s = convergence.completion_limit_s(migration.limits, migration.progress)
    stopped_at_s = await _stop(run, limit_s)
    comparison = integrity.read(run, asked)
    rescued = run.network.rescue()
    try:
        await _send_rest(run, limit_s, asked_s, seen)
    except TimeoutError as error:
        stood = _Stood(stopped_at_s, rescued, _marks(run, seen, stopped_at_s), None, 0.0)
        _note_standing(run, stood)
        raise Aborted(
            what=migration.undone,
            why=f"the rest of it did not arrive within {limit_s * 1e3:.0f} ms of pause; the last that was seen: "
            f"{since(stopped_at_s, stood.marks)[-1][0]}",
            todo="Allow a longer pause with --max-blackout, or look at the link between the hosts.",
        ) from error
    left_s = limit_s - (run.clock.steady_s() - asked_s)
    seen.mark("copied")
    return _Stood(stopped_at_s, rescued, _marks(run, seen, stopped_at_s), comparison, left_s)


async def _stop(run: Run, limit_s: float) -> float:
    """QEMU stops a guest once all that it wrote is on its disks, and on those that they are mirrored to."""
    try:
        async with asyncio.timeout(limit_s):
            return await run.here.stop()
    except TimeoutError as error:
        raise Aborted(
            what=run.record.now.undone,
            why=f"QEMU did not let it stand within {limit_s * 1e3:.0f} ms: what it wrote waits for its disks",
            todo="Look at the storage of both hosts and at the link between them, or allow a longer pause with "
            "--max-blackout.",
        ) from error


def _marks(run: Run, seen: Timeline, stopped_at_s: float) -> Marks:
    return (*seen.marks, *run.here.marks(), ("stopped", stopped_at_s))


async def _best_moment(run: Run, chosen: Blocks | None) -> integrity.Comparison | None:
    """Returns when next to nothing is left that would have to be sent while the guest stands."""
    try:
        wakes_in_s = await run.here.look()
        await run.clock.rest(max(0.0, wakes_in_s - TELL_S))
        asked = integrity.ask(run, chosen)
        await run.network.tell()
        await run.here.sent(within_s=LOOK_S_MAX)
        return asked
    except TimeoutError as error:
        raise Aborted(
            what=f"{run.guest.name} was not moved",
            why="what it had written last did not get to the target any more",
            todo="Look at the link between the hosts, then try again; the guest never stopped.",
        ) from error


async def _send_rest(run: Run, limit_s: float, asked_s: float, seen: Timeline) -> None:
    """The last of the disks; then that of memory and the devices' state, while the target closes its files.

    QEMU there takes no lock of them before it is told to run the guest (late activation, always since 10.0).
    """
    if run.record.now.copied_before:
        async with asyncio.timeout(limit_s):
            await _together(storage.cut(run, seen), run.here.at_gate(within_s=limit_s))
            await run.here.pass_gate()
            await _together(storage.close(run, seen), _complete(run, limit_s, asked_s))
    else:
        await _complete(run, limit_s, asked_s)
    async with asyncio.timeout(limit_s):
        await storage.lend(run)


async def _complete(run: Run, limit_s: float, asked_s: float) -> None:
    if not await run.here.completed(within_s=limit_s):
        await _loaded(run, limit_s - (run.clock.steady_s() - asked_s))


async def _together(*parts: Coroutine[Any, Any, None]) -> None:
    """Side by side; where one fails the others end, and its error is the one that is told."""
    tasks = [asyncio.create_task(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _loaded(run: Run, within_s: float) -> None:
    """Post-copy: the source has switched over, but only the target knows whether the guest can run there.

    Until it says so, nothing is given away; the guest can still be given back to its source.
    """
    there = await run.peer.arrival(run.guest.uuid, run.record.now.id, loaded_within_s=max(within_s, 0.0))
    if not there.loaded:
        raise TimeoutError("the target has not loaded the guest's devices")


def _note_blackout(run: Run, handed: Handed) -> None:
    """Both wall clocks, made comparable by the offset that was measured in the preparation.

    Zero where an agent was restarted in the blackout: then nobody knows one of the two times.
    """
    outcome = run.record.now.outcome
    if not handed.resumed_at_s or not outcome.stopped_at_s:
        return
    resumed_here_s = handed.resumed_at_s - outcome.clock_offset_s
    blackout_s = resumed_here_s - outcome.stopped_at_s
    there = ((what, at_s - outcome.clock_offset_s) for what, at_s in handed.marks_there)
    marks = (*handed.marks_here, *there, ("resumed", resumed_here_s))
    timeline = (*outcome.timeline, *since(outcome.stopped_at_s, marks))
    run.record.outcome(
        replace(outcome, resumed_at_s=resumed_here_s, blackout_s=blackout_s, timeline=timeline)
    )
