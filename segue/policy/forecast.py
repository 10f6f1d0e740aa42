"""Foresees how long a migration and its blackout will take, from figures measured just before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from segue.model.foresight import Figures, Lessons
from segue.model.ladder import OverBudget, Rung
from segue.model.migration import Forecast, Limits
from segue.policy import convergence

ROUNDS_MAX: Final = 60
LOOK_S: Final = 0.1
"""A round is never shorter: QEMU looks at its limits every 100 ms (BUFFER_DELAY)."""
HOPELESS: Final = 0.95
"""A guest that writes at this share of the path's speed is not caught up with."""
MIRRORED_S: Final = 0.026
"""Of a blackout: mirrors end with both sides equal, and the target closes its files (our lab: 20 to 30 ms)."""


def forecast(figures: Figures, lessons: Lessons, limits: Limits) -> Forecast:
    """Geometric rounds of pre-copy: each sends what was written during the one before.

    Formula: Clark et al., Live Migration of Virtual Machines, NSDI 2005, section 3; here with the working set, which
    bounds a round, with the throttle that the ladder allows, and with what earlier migrations taught.
    """
    path = figures.path_bytes_per_s
    cap = float(limits.bandwidth_bytes_per_s)
    speed = min(path, cap) if cap else path
    course = _course(figures, speed, limits)
    copy_s, climb_s = course.copy_s, course.climb_s
    # Of a guest that is sent before its memory the pause holds none.
    rest_s = 0.0 if limits.goes_first else course.rest_bytes / path
    disks_s = figures.disk_bytes / speed
    blackout_s = lessons.fixed_blackout_s + mirrored_s(figures.mirrored) + figures.round_trip_s + rest_s
    beside_s = lessons.fixed_total_s + climb_s + blackout_s + disks_s
    total_s = beside_s + lessons.copy_scale * copy_s
    # A guest that was throttled, or wrote more than was seen before, taught a factor that may not hold this time.
    best_s = beside_s + min(1.0, lessons.copy_scale) * copy_s
    return Forecast(
        total_s=total_s,
        total_low_s=best_s / (1 + lessons.total_spread),
        total_high_s=total_s * (1 + lessons.total_spread),
        blackout_s=blackout_s,
        blackout_low_s=blackout_s / (1 + lessons.blackout_spread),
        blackout_high_s=blackout_s * (1 + lessons.blackout_spread),
        memory_bytes=figures.resident_bytes,
        dirty_bytes_per_s=figures.dirty_bytes_per_s,
        link_bytes_per_s=speed,
        converges=blackout_s <= limits.blackout_s and total_s <= limits.deadline_s,
        basis=f"{course.rounds} rounds foreseen{course.words}; learnt from {lessons.runs} migrations",
        path_bytes_per_s=path,
        copy_s=copy_s,
        rest_s=rest_s,
        disk_bytes=figures.disk_bytes,
    )


def mirrored_s(mirrored: bool) -> float:
    """What the guest's copied disks add to its blackout."""
    return MIRRORED_S if mirrored else 0.0


def hopeless(foreseen: Forecast, limits: Limits) -> str:
    """Why not even the best of the range keeps the operator's budget; empty where it may be kept."""
    if limits.over_budget is OverBudget.ACCEPT or limits.post_copy:
        return ""  # With post-copy the pause holds no memory, whatever the guest writes.
    if foreseen.blackout_low_s > limits.blackout_s:
        return (
            f"it would stand still for {foreseen.blackout_low_s * 1e3:.0f} ms or more, and the budget is "
            f"{limits.blackout_s * 1e3:.0f} ms: it writes {foreseen.dirty_bytes_per_s / 1e6:.0f} MB/s and the path "
            f"takes {foreseen.link_bytes_per_s / 1e6:.0f} MB/s"
        )
    if foreseen.total_low_s > limits.deadline_s:
        return f"it would take {foreseen.total_low_s:.0f} s or more, and the deadline is {limits.deadline_s:.0f} s"
    return ""


@dataclass(frozen=True)
class _Course:
    """Seconds of copying, bytes left for the blackout, rounds; and seconds until a throttle holds."""

    copy_s: float
    rest_bytes: float
    rounds: int
    climb_s: float = 0.0
    words: str = ""


def _course(figures: Figures, speed: float, limits: Limits) -> _Course:
    """As it goes by itself; with the throttle where rounds would not shrink, or so slowly that it helps before."""
    dirty = figures.dirty_bytes_per_s
    free = _Course(*_rounds(figures, dirty, speed))
    slowdown = min(limits.slowdown_max, 1 - convergence.TARGET * speed / dirty) if dirty else 0.0
    if Rung.THROTTLE not in limits.ladder or slowdown <= 0:
        return free
    climb_s = convergence.patience_s(limits) + 2 * convergence.HOLD_S
    words = f" with a throttle of {slowdown:.0%}"
    slowed = _Course(*_rounds(figures, dirty * (1 - slowdown), speed), climb_s, words)
    sooner = slowed.copy_s + climb_s < free.copy_s
    return slowed if sooner or dirty >= HOPELESS * speed else free


def _rounds(figures: Figures, dirty: float, speed: float) -> tuple[float, float, int]:
    """(seconds of copying, bytes left for the blackout, rounds)."""
    rest, spent_s, rounds = float(figures.resident_bytes), 0.0, 0
    while rounds < ROUNDS_MAX:
        round_s = rest / speed
        spent_s, rounds = spent_s + max(round_s, LOOK_S), rounds + 1
        before, rest = rest, min(dirty * max(round_s, LOOK_S / 10), figures.working_set_bytes)
        if rest / figures.path_bytes_per_s <= convergence.EAGER_S or (rounds > 1 and rest >= before * 0.98):
            break
    return spent_s, rest, rounds
