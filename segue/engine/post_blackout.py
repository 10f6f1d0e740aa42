"""Stage 3: the guest runs on the target; the source helps it, then goes. Every step is retried until done."""

from __future__ import annotations

from dataclasses import replace

from segue.engine.run import Run
from segue.errors import Lost

QUIET_S = 0.6
"""No frame for this long: every switch has learnt the new place (QEMU announces for 0.5 s)."""
FORWARD_S_MAX = 60.0
"""A neighbour that never learns is served this long."""
LEARN_S = 2.0
"""Frames that still come after so long come from beside the guest, through a bridge that we keep from learning:
everybody else has heard the announcements."""
LOOK_S = 0.1


async def forward_late_frames(run: Run) -> None:
    """Frames that still come here are sent after the guest, until none has come for a while."""
    await run.network.mute()
    begun_s = last_s = run.clock.steady_s()
    seen = run.network.steered_frames()
    learns = False
    while run.clock.steady_s() - last_s < QUIET_S and run.clock.steady_s() - begun_s < FORWARD_S_MAX:
        await run.clock.rest(LOOK_S)
        if not learns and run.clock.steady_s() - begun_s > LEARN_S:
            await run.network.let_learn()
            learns = True
        frames = run.network.steered_frames()
        if frames != seen:
            seen, last_s = frames, run.clock.steady_s()
    run.record.outcome(replace(run.record.now.outcome, frames_steered=seen))


async def retire_source(run: Run) -> None:
    """The source's copy, its tunnel and its tap go; the tombstone in the journal stays."""
    await run.peer.settled(run.guest.uuid, run.record.now.id)
    await run.network.clear()
    await run.custody.retire()
    note_times(run)


async def mourn(run: Run) -> None:
    """The target died with the guest, which starts from its disks here: no frame of it goes to the dead any more."""
    await run.network.clear()
    lament(run)


def lament(run: Run) -> None:
    """The record says what became of it."""
    migration = run.record.now
    run.record.failed(
        Lost(
            what=f"{migration.guest} was lost on {migration.target}",
            why=f"{migration.target} died before all was settled, and {migration.source} has the guest again",
            todo=f"What was only in its memory is gone. Look at it: `segue vm show {migration.guest}`.",
        )
    )
    note_times(run)


def note_times(run: Run) -> None:
    """How long each stage took."""
    now_s, record = run.clock.wall_s(), run.record.now
    run.record.outcome(
        replace(
            record.outcome,
            preparation_s=record.blackout_at_s - record.started_s,
            post_blackout_s=now_s - record.settling_at_s,
            total_s=now_s - record.started_s,
            rounds=record.progress.round,
            transferred_bytes=record.progress.transferred_bytes,
        )
    )
