"""Stage 1: everything that can be done while the guest runs. Each step can be taken back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from segue.engine import placing, storage
from segue.engine.run import Run
from segue.errors import Aborted
from segue.model.migration import Migration, Progress
from segue.policy import convergence, shape
from segue.policy.convergence import Move, Trend, Verdict

SAMPLE_S = 1.0
"""Where a round lasts longer, the operator still sees how it goes."""


async def reserve(run: Run) -> None:
    """An empty, paused copy on the target; both journals know of the offer."""
    run.record.landing(await run.peer.place(await placing.placement(run)))


async def release(run: Run) -> None:
    """Undo of reserve: the guest is ours alone again; the target drops its copy."""
    await run.custody.give_up()


async def join_networks(run: Run) -> None:
    """The way for frames from here to the target's paused copy; and both clocks are compared."""
    await run.network.prepare(placing.landing(run), placing.tunnel_id(run.record.now.id))
    await compare_clocks(run)


async def compare_clocks(run: Run) -> None:
    """What the target's clock says beside ours, for the times of both in one record."""
    offset_s, uncertainty_s = await run.peer.clock()
    outcome = run.record.now.outcome
    run.record.outcome(replace(outcome, clock_offset_s=offset_s, clock_uncertainty_s=uncertainty_s))


async def part_networks(run: Run) -> None:
    """Undo of join_networks."""
    await run.network.clear()


async def copy_memory(run: Run) -> None:
    """Rounds of memory while the guest runs, until what is left fits into a short enough pause."""
    migration = run.record.now
    limits = shape.within(migration.shape, migration.limits)
    begun_s = run.clock.steady_s() - max(0.0, run.clock.wall_s() - migration.started_s)
    gated = migration.copied_before
    tied = not gated
    await run.here.begin_copy(placing.landing(run), migration.limits, migration.shape, gated=gated)
    trend = _beginning(migration)
    bill, disks = Brownout(run.clock.steady_s()), storage.Following(run)
    async for sample in run.here.rounds(within_s=SAMPLE_S):
        trend = convergence.observe(trend, sample, run.clock.steady_s() - begun_s)
        verdict = convergence.next_move(trend, limits)
        bill.add(sample.slowdown, run.clock.steady_s())
        run.record.progress(_shown(sample, verdict))
        if verdict.move is Move.GIVE_UP:
            if convergence.stalled(trend, limits):
                raise _cut(migration, verdict.reason)
            raise _hopeless(migration, sample, verdict.reason)
        stops = verdict.move in {Move.PAUSE, Move.POST_COPY}
        if not await disks.follow():
            tied = False  # The target is waited for, and then all of them are equal once more.
        elif stops and not tied:
            await run.here.ease()
            await storage.tie(run)
            tied = True  # The guest ran on meanwhile: another moment is looked for.
            trend = convergence.anew(trend)
        elif stops:
            _note_copy(run, bill, sample.elapsed_s)
            if verdict.move is Move.POST_COPY:
                run.record.goes_before_its_memory()
                await run.here.arm_post_copy()
            return
        else:
            if verdict.move is Move.THROTTLE:
                await run.here.throttle(verdict.slowdown)
            trend = convergence.follow(trend, verdict)


@dataclass
class Brownout:
    """What the throttle took from the guest so far."""

    since_s: float
    slowdown: float = 0.0
    most: float = 0.0
    lost_s: float = 0.0

    def add(self, slowdown: float, now_s: float) -> None:
        """From here on the guest is slowed down by this share."""
        self.lost_s += self.slowdown * (now_s - self.since_s)
        self.since_s, self.slowdown, self.most = now_s, slowdown, max(self.most, slowdown)


def _note_copy(run: Run, bill: Brownout, copy_s: float) -> None:
    bill.add(bill.slowdown, run.clock.steady_s())
    outcome = run.record.now.outcome
    run.record.remember(replace(outcome, copy_s=copy_s, slowdown_max=bill.most, brownout_s=bill.lost_s))


def _shown(sample: Progress, verdict: Verdict) -> Progress:
    return replace(
        sample, rung=verdict.rung, blackout_estimate_s=min(verdict.estimate_s, 1e6), reason=verdict.reason
    )


def _beginning(migration: Migration) -> Trend:
    """What is known before the first sample."""
    foreseen = migration.forecast
    if foreseen is None:
        return Trend()
    # The cap is for the time in which the guest runs: in the blackout QEMU sends as fast as the path takes it.
    capped = bool(migration.limits.bandwidth_bytes_per_s)
    fixed_s = max(convergence.FIXED_BLACKOUT_S, foreseen.blackout_s - foreseen.rest_s)
    return Trend(
        fixed_s=fixed_s,
        path_bytes_per_s=foreseen.path_bytes_per_s if capped else 0.0,
        foreseen_bytes_per_s=foreseen.path_bytes_per_s,
        foreseen_dirty_bytes_per_s=foreseen.dirty_bytes_per_s,
    )


async def cancel_copy(run: Run) -> None:
    """Undo of copy_memory."""
    if run.here.alive():
        await run.here.cancel_copy()


def _cut(migration: Migration, why: str) -> Aborted:
    return Aborted(
        what=migration.undone,
        why=why,
        todo=f"Look at the link from {migration.source} to {migration.target} and at the QEMU there, then try again.",
    )


def _hopeless(migration: Migration, seen: Progress, why: str) -> Aborted:
    return Aborted(
        what=migration.undone,
        why=why,
        todo="Allow a longer pause (--max-blackout), more time (--deadline), a slower guest (--max-slowdown), "
        "a pause over the budget (--over-budget accept), or move it when it writes less; "
        f"it wrote {seen.dirty_bytes_per_s / 1e6:.0f} MB/s.",
    )
