"""Tells the guest before it is moved and after, and has the target look after it; a guest can delay, never prevent."""

from __future__ import annotations

from dataclasses import replace

from segue.engine import post_copy
from segue.engine.run import Run
from segue.errors import SegueError
from segue.model.guest_clock import ClockStep
from segue.model.notice import Arrival, Board, Care
from segue.policy import notice

SHOW_S = 1.0
"""The operator sees the time run at least this often."""
CARE_S = 15.0
"""The target's work on the guest's clock is awaited this long; it is bounded there, too."""


async def tell_guest(run: Run) -> None:
    """Announces the migration, and waits until all who registered are ready or their time is over."""
    board = run.notice.board()
    wait_s = notice.wait_s(run.record.now.limits.notice_s, board.subscriptions, run.notice.most_s())
    board = run.notice.announce(run.clock.wall_s() + wait_s)
    until_s = run.clock.steady_s() + wait_s
    while board.unanswered and (left_s := _left_s(run, board, until_s)) > 0:
        run.record.waiting(f"the guest's ready ({', '.join(board.unanswered)}): {left_s:.0f} s left")
        await run.notice.changed(within_s=min(left_s, SHOW_S))
        board = run.notice.board()
    run.record.waiting("")


def _left_s(run: Run, board: Board, until_s: float) -> float:
    """By the wall clock, as an agent that died may have begun to wait; but if that one is set back, by the other."""
    return min(board.begins_at_s - run.clock.wall_s(), until_s - run.clock.steady_s())


async def tell_cancelled(run: Run) -> None:
    """Undo of tell_guest."""
    run.record.waiting("")
    run.notice.conclude(moved=False)


async def tell_moved(run: Run) -> None:
    """The target tells the guest that it is over, and begins to look after its clock; so do we, to those who still
    have a connection to us: the answer reaches the guest through the tunnel.

    One try: the late frames do not wait for a target that cannot be reached.
    """
    try:
        await _say_arrived(run)
    except (ConnectionError, TimeoutError, SegueError):
        return


async def hear_of_clock(run: Run) -> None:
    """What became of the guest's clock goes into the record. A target that knows nothing of it is not asked again."""
    if post_copy.has_lost(run):
        return  # There is no guest any more whose clock could be looked after.
    try:
        await _say_arrived(run)
        care = await run.peer.care(run.guest.uuid, run.record.now.id, within_s=CARE_S)
    except SegueError as error:
        care = Care(clock=ClockStep(note=f"the target does not set it: {error.why}"))
    run.record.outcome(replace(run.record.now.outcome, clock=care.clock))


async def _say_arrived(run: Run) -> None:
    board = run.notice.conclude(moved=True)
    blackout_s = run.record.now.outcome.blackout_s
    await run.peer.arrived(run.guest.uuid, Arrival(run.record.now.id, blackout_s, board))
