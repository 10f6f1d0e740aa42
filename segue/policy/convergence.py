"""Decides after each round of memory whether to pause the guest, to go on, or to give up."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from segue.model.migration import Limits, Progress

FIXED_BLACKOUT_S: Final = 0.006
"""Device state, stop and start: the floor measured for an idle guest (our lab, QEMU 10.0.13, TCG: 4 to 6 ms)."""
EAGER_S: Final = 0.010
"""A rest this small is never worth another round."""
PATIENT_ROUNDS: Final = 12
"""Rounds without a better minimum before a pause inside the budget is taken as it comes."""


class Move(StrEnum):
    """What the engine does next."""

    PAUSE = "pause"
    ANOTHER_ROUND = "another_round"
    GIVE_UP = "give_up"


@dataclass(frozen=True)
class Trend:
    """What the rounds so far taught."""

    now: Progress = field(default_factory=Progress)
    elapsed_s: float = 0.0
    link_bytes_per_s: float = 0.0
    """The fastest the path was ever seen: an idle round sends too little to show its speed."""
    least_remaining_bytes: int = -1
    rounds_since_least: int = 0
    moved_at_s: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """A move and the sentence that explains it."""

    move: Move
    reason: str


def observe(trend: Trend, sample: Progress, elapsed_s: float) -> Trend:
    """The trend after one more sample, `elapsed_s` after the copy began."""
    moved = sample.transferred_bytes != trend.now.transferred_bytes or sample.round != trend.now.round
    least = trend.least_remaining_bytes
    better = sample.round >= 2 and (least < 0 or sample.remaining_bytes < least)
    stale = trend.rounds_since_least + (sample.round != trend.now.round)
    return replace(
        trend,
        now=sample,
        elapsed_s=elapsed_s,
        link_bytes_per_s=max(trend.link_bytes_per_s, sample.link_bytes_per_s),
        least_remaining_bytes=sample.remaining_bytes if better else least,
        rounds_since_least=0 if better else stale,
        moved_at_s=elapsed_s if moved else trend.moved_at_s,
    )


def blackout_estimate_s(remaining_bytes: int, link_bytes_per_s: float) -> float:
    """Seconds the guest would stand still if it were paused now.

    remaining_bytes: QMP query-migrate, ram.remaining; link_bytes_per_s: the path's measured speed.
    """
    if link_bytes_per_s <= 0:
        return float("inf") if remaining_bytes else FIXED_BLACKOUT_S
    return FIXED_BLACKOUT_S + remaining_bytes / link_bytes_per_s


def next_move(trend: Trend, limits: Limits) -> Verdict:
    """Pause at once when little is left; later at anything inside the budget; give up at the limits."""
    estimate_s = blackout_estimate_s(trend.now.remaining_bytes, trend.link_bytes_per_s)
    fits = trend.now.round >= 2 and estimate_s <= limits.blackout_s
    if fits and (estimate_s <= FIXED_BLACKOUT_S + EAGER_S or trend.rounds_since_least >= PATIENT_ROUNDS):
        return Verdict(Move.PAUSE, f"the pause would be about {estimate_s * 1e3:.0f} ms")
    if trend.elapsed_s - trend.moved_at_s >= limits.stall_s:
        return Verdict(Move.GIVE_UP, f"nothing arrived at the target for {limits.stall_s:.0f} s")
    if trend.elapsed_s >= limits.preparation_s or trend.now.round >= limits.rounds_max:
        if fits:
            return Verdict(Move.PAUSE, "time is up and the pause fits the budget")
        return Verdict(Move.GIVE_UP, _too_busy(trend, limits, estimate_s))
    return Verdict(Move.ANOTHER_ROUND, f"the pause would be about {estimate_s * 1e3:.0f} ms")


def _too_busy(trend: Trend, limits: Limits, estimate_s: float) -> str:
    return (
        f"after {trend.now.round} rounds and {trend.elapsed_s:.0f} s the pause would still be about "
        f"{estimate_s * 1e3:.0f} ms, more than the budget of {limits.blackout_s * 1e3:.0f} ms"
    )
