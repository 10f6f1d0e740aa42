"""A cold migration: a guest that crashed is started on another host, from its disks.

It goes through the same saga and the same handoff as one that runs, so that it is never started twice and never
nowhere: the target has it ready before the source gives it away, and gives it back where it does not start.
"""

from __future__ import annotations

from dataclasses import replace

from segue.engine import blackout, post_blackout, preparation
from segue.engine.run import Run
from segue.engine.saga import Saga, Step
from segue.model.lifecycle import Event, Stage


async def reserve(run: Run) -> None:
    """A paused QEMU on the target that has the guest's disks open; both journals know of the offer."""
    await preparation.reserve(run)
    await preparation.compare_clocks(run)


async def hand_off(run: Run) -> None:
    """Gives the token away, and the target starts the guest. Run again, it only asks for the answer."""
    migration = run.record.now
    if not run.custody.released(migration.id):
        # Whoever is silent now would be silent when the guest is given to it.
        await run.peer.awake(run.guest.uuid, migration.id)
        if migration.stage is Stage.PREPARATION:
            run.record.advance(Event.CONVERGED)
    handed = await blackout.give(run)
    if handed.resumed_at_s:
        outcome = run.record.now.outcome
        run.record.outcome(replace(outcome, resumed_at_s=handed.resumed_at_s - outcome.clock_offset_s))
    blackout.conclude(run)


async def retire_source(run: Run) -> None:
    """Nothing of it stays here but the tombstone in the journal."""
    await run.peer.settled(run.guest.uuid, run.record.now.id)
    await run.custody.retire()
    post_blackout.note_times(run)


async def mourn(run: Run) -> None:
    """The target died with the guest, which is this host's again."""
    post_blackout.lament(run)


COLD: Saga[Run] = Saga(
    prepare=(Step("reserve target", reserve, undo=preparation.release),),
    handoff=Step("hand off", hand_off, undo=preparation.release),
    settle=(Step("retire source", retire_source),),
    mourn=Step("mourn the target", mourn),
)
