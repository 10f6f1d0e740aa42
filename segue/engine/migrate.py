"""Read this first: one live migration is this saga. A machine and, later, a container go through the same."""

from __future__ import annotations

from segue.engine import blackout, post_blackout, preparation
from segue.engine.ports import SagaLog
from segue.engine.run import Run
from segue.engine.saga import Runner, Saga, Step, TurnedBack
from segue.model.lifecycle import Event, Stage

LIVE: Saga[Run] = Saga(
    prepare=(
        Step("reserve target", preparation.reserve, undo=preparation.release),
        Step("join networks", preparation.join_networks, undo=preparation.part_networks),
        Step("copy memory", preparation.copy_memory, undo=preparation.cancel_copy, fades=True),
    ),
    handoff=Step("hand off", blackout.hand_off, undo=blackout.take_back),
    settle=(
        Step("forward late frames", post_blackout.forward_late_frames),
        Step("retire source", post_blackout.retire_source),
    ),
)


def runner(run: Run, journal: SagaLog) -> Runner[Run]:
    """The saga of this migration, ready to go or to go on."""
    return Runner(
        LIVE,
        run,
        journal,
        run.clock,
        released=lambda: run.custody.released(run.record.now.id),
        on_step=run.record.at_step,
    )


async def carry_out(saga: Runner[Run], run: Run) -> None:
    """Goes to the end and leaves the record in one of its last stages, with the reason if it was undone."""
    try:
        await saga.go()
    except TurnedBack as turned:
        cause = turned.__cause__
        assert isinstance(cause, Exception)
        run.record.failed(cause)
        run.record.advance(_how_it_turned(run, cause))
    else:
        run.record.advance(Event.SETTLED)


def _how_it_turned(run: Run, cause: Exception) -> Event:
    if not run.here.alive():
        return Event.GUEST_ENDED
    if isinstance(cause, blackout.CameBack) and run.record.now.stage is Stage.BLACKOUT:
        return Event.RETURNED
    return Event.FAILED
