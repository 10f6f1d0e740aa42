"""Read this first: one live migration is this saga. A machine and, later, a container go through the same."""

from __future__ import annotations

from segue.engine import blackout, cold, notice, post_blackout, post_copy, preparation, storage
from segue.engine.ports import SagaLog
from segue.engine.run import Run
from segue.engine.saga import Runner, Saga, Step, TurnedBack
from segue.errors import Aborted
from segue.model.lifecycle import Event, Stage

LIVE: Saga[Run] = Saga(
    prepare=(
        Step("reserve storage", storage.reserve, undo=storage.release),
        Step("reserve target", preparation.reserve, undo=preparation.release),
        Step("join networks", preparation.join_networks, undo=preparation.part_networks),
        Step("mirror disks", storage.mirror, undo=storage.stop_mirrors, fades=True),
        Step("tell the guest", notice.tell_guest, undo=notice.tell_cancelled),
        Step("copy memory", preparation.copy_memory, undo=preparation.cancel_copy, fades=True),
    ),
    handoff=Step("hand off", blackout.hand_off, undo=blackout.take_back),
    settle=(
        Step("tell the guest that it is over", notice.tell_moved),
        Step(post_copy.STEP, post_copy.serve_pages),
        Step("forward late frames", post_blackout.forward_late_frames),
        Step("hear of the guest's clock", notice.hear_of_clock),
        Step("pull disks", storage.pull),
        Step("keep source disks", storage.keep),
        Step("retire source", post_blackout.retire_source),
    ),
    mourn=Step("mourn the target", post_blackout.mourn),
)


def runner(run: Run, journal: SagaLog) -> Runner[Run]:
    """The saga of this migration, ready to go or to go on."""
    return Runner(
        cold.COLD if run.record.now.cold else LIVE,
        run,
        journal,
        run.clock,
        released=lambda: run.custody.released(run.record.now.id),
        returned=lambda: _has_come_back(run),
        on_step=run.record.at_step,
    )


def _has_come_back(run: Run) -> bool:
    """After the handoff: the target was proved to be dead, and the guest's journal is this host's again."""
    return not run.record.now.in_place and not run.custody.released(run.record.now.id)


async def carry_out(saga: Runner[Run], run: Run) -> None:
    """Goes to the end and leaves the record in one of its last stages, with the reason if it was undone."""
    try:
        await saga.go()
    except TurnedBack as turned:
        cause = turned.__cause__
        assert isinstance(cause, Exception)
        event = _how_it_turned(run, cause)
        run.record.failed(_ended(run, cause) if event is Event.GUEST_ENDED else cause)
        run.record.advance(event)
    else:
        run.record.advance(Event.GUEST_ENDED if post_copy.has_lost(run) else Event.SETTLED)


def _how_it_turned(run: Run, cause: Exception) -> Event:
    if not run.record.now.cold and not run.here.alive():
        return Event.GUEST_ENDED
    if isinstance(cause, blackout.CameBack) and run.record.now.stage is Stage.BLACKOUT:
        return Event.RETURNED
    return Event.FAILED


def _ended(run: Run, cause: Exception) -> Aborted:
    """Whatever was noticed first: that the guest does not run any more is what matters."""
    migration, kind = run.record.now, "app" if run.guest.is_app else "vm"
    return Aborted(
        what=migration.undone,
        why=f"it ended on {migration.source} meanwhile ({cause})",
        todo=f"Look at it: `segue {kind} show {migration.guest}`; if nothing starts it again, do so: "
        f"`segue {kind} start {migration.guest}`.",
    )
