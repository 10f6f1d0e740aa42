"""The disks that only the source has: room for them, their mirrors, and the end of both. Guests without go by."""

from __future__ import annotations

from segue.engine import placing
from segue.engine.run import Run
from segue.engine.timeline import Timeline
from segue.errors import Aborted
from segue.model.landing import Landing
from segue.model.migration import Migration
from segue.model.storage import DiskProgress

LOOK_S = 0.25
TIE_S = 60.0
"""A guest that writes all the time is caught up with this fast or not at all."""
PATIENCE_S = 75.0
"""A link that is cut may come back; the mirror then goes on where it was (see adapters/qemu/mirror.py)."""
WAITS_S = 1.0
"""A write of a guest whose disks are tied waits no longer for the target; a lost packet costs 0.2 s, two 0.6 s."""
WAITS_BYTES = 4 << 20
"""Or as long as this takes on its path: a mirror of QEMU counts in pieces of 1 MiB, and memory is sent beside it."""


async def reserve(run: Run) -> None:
    """Empty disks on the target, on the same layers as here: those that it lacks are sent at once."""
    if not run.record.now.copies:
        return
    migration = run.record.now
    if migration.limits.storage_postcopy:
        await run.custody.begin(migration.target, migration.id)
        await run.here.secret(migration.id)  # What is lent is lent under it.
        run.record.landing(Landing("", "", await run.disks.offer()))
        return
    landing = await run.peer.place_storage(await placing.placement(run))
    run.record.landing(landing)
    missing = {layer.path: layer for copy in run.record.now.copies for layer in copy.missing}
    if missing:
        await run.disks.send_layers(landing.storage_address)
        await run.peer.layers_sent(run.guest.uuid, run.record.now.id, tuple(missing.values()))


async def release(run: Run) -> None:
    """Undo of reserve."""
    await run.disks.stop()
    await run.custody.give_up()


async def mirror(run: Run) -> None:
    """Until every disk has been copied once; from then on the target's follow."""
    migration = run.record.now
    if not migration.copied_before:
        return
    landing = placing.landing(run)
    await run.disks.begin(landing.storage_address, migration.limits.bandwidth_bytes_per_s)
    seen, moved_s = DiskProgress(), run.clock.steady_s()
    while True:
        now, ready = await run.disks.progress()
        run.record.disks(now)
        if ready:
            return
        if now != seen:
            seen, moved_s = now, run.clock.steady_s()
        _demand_time(run, migration, run.clock.steady_s() - moved_s)
        await run.clock.rest(LOOK_S)


async def stop_mirrors(run: Run) -> None:
    """Undo of mirror."""
    await run.disks.stop()


class Following:
    """Whether the disks follow while memory is copied."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._sound_s = run.clock.steady_s()

    async def follow(self) -> bool:
        """False while the target is waited for. Raises Aborted for disks that do not follow any more."""
        run = self._run
        if not run.record.now.copied_before:
            return True
        _, follows = await run.disks.progress()
        now_s = run.clock.steady_s()
        if follows:
            self._sound_s = now_s
        else:
            _demand_time(run, run.record.now, now_s - self._sound_s)
        return follows


async def tie(run: Run) -> None:
    """From here on both copies of each disk are equal at every instant."""
    try:
        await run.disks.tie(within_s=TIE_S, waits_s=_waits_s(run.record.now))
    except TimeoutError as error:
        raise Aborted(
            what=f"{run.guest.name} was not moved",
            why=f"its disks did not become equal within {TIE_S:.0f} s: it writes faster than the target takes it",
            todo="Move it when it writes less, or give the copy more bandwidth (--max-bandwidth).",
        ) from error


def _waits_s(migration: Migration) -> float:
    speed = migration.progress.link_bytes_per_s
    return max(WAITS_S, migration.limits.blackout_s, WAITS_BYTES / speed if speed > 0 else 0.0)


async def cut(run: Run, seen: Timeline) -> None:
    """The guest stands: the mirrors end, with both sides equal."""
    await run.disks.cut()
    seen.mark("disks equal")


async def close(run: Run, seen: Timeline) -> None:
    """The target closes its files: before the guest may run there, and not sooner than that."""
    await run.peer.close_storage(run.guest.uuid, run.record.now.id)
    seen.mark("disks closed")


async def lend(run: Run) -> None:
    """Storage post-copy: the guest stands, and its QEMU here has let go of its disks; now the target reads them."""
    migration = run.record.now
    if migration.copies and migration.limits.storage_postcopy:
        await run.disks.lend(placing.landing(run).storage_address)


async def pull(run: Run) -> None:
    """The guest runs on the target with its disks here: they are lent for as long as it takes."""
    migration = run.record.now
    if not (migration.copies and migration.limits.storage_postcopy):
        return
    while True:
        await run.disks.lend(placing.landing(run).storage_address)  # The daemon may have died since.
        now, done = await run.peer.pulled(run.guest.uuid)
        if done:
            return
        run.record.disks(now)
        await run.clock.rest(LOOK_S)


async def keep(run: Run) -> None:
    """The guest runs on the target: its disks here get another name, and stay for the grace time."""
    run.disks.keep()


def _demand_time(run: Run, migration: Migration, still_s: float) -> None:
    spent_s = run.clock.wall_s() - migration.started_s
    why = ""
    if spent_s > migration.limits.deadline_s:
        why = f"its disks were not copied within {migration.limits.deadline_s:.0f} s"
    elif still_s > max(PATIENCE_S, migration.limits.stall_s):
        why = f"nothing of its disks arrived at the target for {still_s:.0f} s"
    if why:
        raise Aborted(
            what=f"{migration.guest} was not moved",
            why=why,
            todo="Look at the link between the hosts, allow more time (--deadline) or more bandwidth.",
        )
