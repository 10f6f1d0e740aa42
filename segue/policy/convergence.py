"""Decides at each sample of a copy: pause the guest, go on, throttle it, or give up. Every copy ends."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from segue.model.ladder import OverBudget, Rung
from segue.model.migration import Limits, Progress

FIXED_BLACKOUT_S: Final = 0.006
"""Device state, stop and start: the floor measured for an idle guest (our lab, QEMU 10.0.13, TCG: 4 to 6 ms)."""
EAGER_S: Final = 0.010
"""A rest this small is never worth another round."""
MARGIN: Final = 1.15
"""An estimate is wrong by about this much; a pause that broke the budget would have been for nothing."""
PATIENCE_S: Final = 10.0
"""So long without a better minimum and waiting is over."""
PATIENCE_SHARE: Final = 0.05
"""Waiting never takes more than this share of the deadline: a short deadline leaves time for the rungs."""
WORTH: Final = 40.0
"""Nor more than this many times what sending the rest takes: to hope for a quarter of 15 ms is not worth seconds."""
SMALLER: Final = 0.95
"""A rest that is smaller than the least by less than this shows how rests vary, not that they shrink."""
HANDOFF_S: Final = 0.030
"""Kept of the budget for what follows the last byte: two journal writes, one message (our lab: 4 to 45 ms)."""
HANDOFF_SHARE: Final = 0.2
"""And never more than this share of it."""
POST_COPY_MARGIN: Final = 2.5
"""Behind a guest that runs on the target its rest follows at half of the path's speed first (policy/postcopy.py), and
it asks for pages out of turn."""
HOLD_S: Final = 2.0
"""A throttle shows its effect after two rounds of QEMU's accounting, of 1 s each."""
WINDOW_S: Final = 0.25
"""A speed measured over less is that of a socket's buffer."""
WEIGHT: Final = 0.4
"""Of the newest speed in the running mean."""
TARGET: Final = 0.6
"""A guest that writes at this share of the path's speed shrinks its rest by 40 % with each round."""
UNSEEN_S: Final = 0.05
"""From a sample to the pause: one more look at what was written, and the window in which it is sent."""
THROTTLE_FIRST: Final = 0.2
THROTTLE_STEP: Final = 0.1
RESERVE_S: Final = 1.0
"""Kept of the deadline for the handoff and for the interval between two samples, beside the blackout's budget."""


class Move(StrEnum):
    """What the engine does next."""

    PAUSE = "pause"
    ANOTHER_ROUND = "another_round"
    THROTTLE = "throttle"
    POST_COPY = "post_copy"
    GIVE_UP = "give_up"


@dataclass(frozen=True)
class Trend:
    """What the samples so far taught, and how far the ladder has been climbed."""

    now: Progress = field(default_factory=Progress)
    elapsed_s: float = 0.0
    path_bytes_per_s: float = 0.0
    """What a probe found, where the copy itself is capped: nothing caps what is sent in the blackout."""
    foreseen_bytes_per_s: float = 0.0
    """The path's speed by the forecast: what there is to go by while too little was sent to measure it."""
    fixed_s: float = FIXED_BLACKOUT_S
    """What a blackout took beside the sending of memory, by the forecast: learnt where there were earlier ones."""
    foreseen_dirty_bytes_per_s: float = 0.0
    """Before the copy, over a short span: in a long round the same pages are written again, which hides the rate."""
    link_bytes_per_s: float = 0.0
    """Running mean of windows in which there was always something to send."""
    peak_bytes_per_s: float = 0.0
    """QEMU's own highest figure: all there is before the first window has passed."""
    window: Progress = field(default_factory=Progress)
    window_at_s: float = 0.0
    least_remaining_bytes: int = -1
    least_at_s: float = 0.0
    moved_at_s: float = 0.0
    rung: Rung = Rung.WAIT
    slowdown: float = 0.0
    climbed_at_s: float = 0.0

    @property
    def speed_bytes_per_s(self) -> float:
        """What the rest would be sent at."""
        measured = self.link_bytes_per_s or self.peak_bytes_per_s or self.foreseen_bytes_per_s
        return max(measured, self.path_bytes_per_s)


@dataclass(frozen=True)
class Verdict:
    """A move and the sentence that explains it; `slowdown` is the throttle that goes with it."""

    move: Move
    reason: str
    rung: Rung
    slowdown: float
    estimate_s: float


def observe(trend: Trend, sample: Progress, elapsed_s: float) -> Trend:
    """The trend after one more sample, `elapsed_s` after the migration began."""
    moved = sample.transferred_bytes != trend.now.transferred_bytes or sample.round != trend.now.round
    least = trend.least_remaining_bytes
    better = sample.round >= 2 and (least < 0 or sample.remaining_bytes < SMALLER * least)
    return _measured(
        replace(
            trend,
            now=sample,
            elapsed_s=elapsed_s,
            peak_bytes_per_s=max(trend.peak_bytes_per_s, sample.link_bytes_per_s),
            least_remaining_bytes=sample.remaining_bytes if better else least,
            least_at_s=elapsed_s if better else trend.least_at_s,
            moved_at_s=elapsed_s if moved else trend.moved_at_s,
        )
    )


def _measured(trend: Trend) -> Trend:
    """With the path's speed as this window shows it, once the window is long enough."""
    span_s = trend.elapsed_s - trend.window_at_s
    if span_s < WINDOW_S:
        return trend
    sent = _sent_bytes(trend.now) - _sent_bytes(trend.window)
    # Between two rounds QEMU pauses.
    was_busy = trend.window.round == trend.now.round > 0 and trend.now.remaining_bytes > 0 and sent > 0
    speed = trend.link_bytes_per_s
    if was_busy and trend.window.remaining_bytes > 0:
        seen = sent / span_s
        speed = speed + WEIGHT * (seen - speed) if speed else seen
    return replace(trend, link_bytes_per_s=speed, window=trend.now, window_at_s=trend.elapsed_s)


def _sent_bytes(seen: Progress) -> int:
    """As pages, however small they became; but not in the first round, whose pages are others than those written since.

    They may compress well where what the guest writes does not, and its pause would be taken for shorter than it is.
    """
    return seen.copied_bytes if seen.round >= 2 else seen.transferred_bytes


def blackout_estimate_s(
    remaining_bytes: int, link_bytes_per_s: float, fixed_s: float = FIXED_BLACKOUT_S
) -> float:
    """Seconds the guest would stand still if it were paused now.

    remaining_bytes: QMP query-migrate, ram.remaining; link_bytes_per_s: the path's measured speed.
    """
    if link_bytes_per_s <= 0:
        return float("inf") if remaining_bytes else fixed_s
    return fixed_s + remaining_bytes / link_bytes_per_s


def completion_limit_s(limits: Limits, progress: Progress) -> float:
    """How long a standing guest is waited for: its budget, or longer where the operator accepts that.

    progress.blackout_estimate_s: the estimate that led to the pause; three times of it is a broken path.
    """
    if limits.over_budget is OverBudget.ACCEPT:
        return max(limits.blackout_s, 3 * progress.blackout_estimate_s + limits.stall_s)
    return _copying_s(limits)


def _copying_s(limits: Limits) -> float:
    """The part of the blackout's budget in which the rest has to arrive."""
    return limits.blackout_s - min(HANDOFF_S, HANDOFF_SHARE * limits.blackout_s)


def next_move(trend: Trend, limits: Limits) -> Verdict:
    """Pause in the best moment inside the budget; climb the ladder when waiting is in vain; end in time."""
    estimate_s = blackout_estimate_s(trend.now.remaining_bytes, trend.speed_bytes_per_s, trend.fixed_s)
    rest_s = estimate_s - trend.fixed_s
    copied = trend.now.round >= 2
    fits = copied and trend.fixed_s + MARGIN * (rest_s + _unseen_s(trend)) <= _copying_s(limits)
    # Where next to nothing is left only a try can tell whether the host is as slow as it was.
    least = copied and rest_s <= EAGER_S and FIXED_BLACKOUT_S + rest_s <= limits.blackout_s
    about = f"the pause would be about {_ms(estimate_s)}"
    if why := _post_copy_now(trend, limits, estimate_s, fits=fits):
        return Verdict(Move.POST_COPY, why, Rung.POST_COPY, trend.slowdown, estimate_s)
    if least or (fits and _nothing_better_comes(trend, limits, rest_s)):
        return _verdict(trend, Move.PAUSE, about, estimate_s)
    if stalled(trend, limits):
        why = f"nothing arrived at the target for {limits.stall_s:.0f} s: the path is dead"
        return _verdict(trend, Move.GIVE_UP, why, estimate_s)
    if _time_is_up(trend, limits):
        return _last_word(trend, limits, estimate_s, fits=fits)
    if not fits and _waited_enough(trend, limits):
        return _climb(trend, limits, estimate_s)
    return _verdict(trend, Move.ANOTHER_ROUND, about, estimate_s)


def _unseen_s(trend: Trend) -> float:
    """To send what the guest writes between the sample that is judged and the moment in which it stands."""
    speed = trend.speed_bytes_per_s
    return UNSEEN_S * trend.now.dirty_bytes_per_s / speed if speed > 0 else 0.0


def follow(trend: Trend, verdict: Verdict) -> Trend:
    """The trend once the verdict has been carried out."""
    if verdict.rung is trend.rung and verdict.slowdown == trend.slowdown:
        return trend
    # What was least before a throttle says nothing about what can be reached with it.
    return replace(anew(trend), rung=verdict.rung, slowdown=verdict.slowdown, climbed_at_s=trend.elapsed_s)


def anew(trend: Trend) -> Trend:
    """The trend after a throttle, or after the guest wrote unseen for a while: what was least is hoped for again."""
    return replace(trend, least_remaining_bytes=-1, least_at_s=trend.elapsed_s)


def patience_s(limits: Limits) -> float:
    """How long to hope for a better minimum."""
    return min(PATIENCE_S, PATIENCE_SHARE * limits.deadline_s)


def stalled(trend: Trend, limits: Limits) -> bool:
    """True where nothing at all arrives any more: more time, or a slower guest, would not help."""
    return trend.elapsed_s - trend.moved_at_s >= limits.stall_s


def _nothing_better_comes(trend: Trend, limits: Limits, rest_s: float) -> bool:
    """The rest does not shrink any more; what fits is taken near its best, or as it comes after twice the time."""
    idle_s = trend.elapsed_s - trend.least_at_s
    near = trend.now.remaining_bytes <= 1.25 * trend.least_remaining_bytes
    too_fast = trend.now.dirty_bytes_per_s >= trend.speed_bytes_per_s
    wait_s = min(patience_s(limits), WORTH * rest_s)
    return idle_s >= wait_s / 2 or (near and (too_fast or idle_s >= wait_s / 4))


def _waited_enough(trend: Trend, limits: Limits) -> bool:
    """Not in the first round, which sends what was never sent; and a throttle gets its time to work."""
    if trend.now.round < 2 or trend.elapsed_s - trend.climbed_at_s < HOLD_S:
        return False
    shrinking = trend.now.dirty_bytes_per_s < TARGET * trend.speed_bytes_per_s
    wait_s = patience_s(limits) * (2 if shrinking else 1)
    return trend.elapsed_s - max(trend.least_at_s, trend.climbed_at_s) >= wait_s


def _time_is_up(trend: Trend, limits: Limits) -> bool:
    last_s = limits.deadline_s - limits.blackout_s - RESERVE_S
    return trend.elapsed_s >= last_s or trend.now.round >= limits.rounds_max


def _post_copy_now(trend: Trend, limits: Limits, estimate_s: float, *, fits: bool) -> str:
    """Why the guest should be moved before its memory, at this moment; empty when it should not."""
    if 0 <= limits.post_copy_after < trend.now.round:
        return f"post-copy was asked for after {limits.post_copy_after} rounds"
    if not fits and not stalled(trend, limits) and _now_or_never(trend, limits, estimate_s):
        return "its rest just fits before the deadline"
    return ""


def _now_or_never(trend: Trend, limits: Limits, estimate_s: float) -> bool:
    """Post-copy has to begin so early that it ends in time; it is no use for a guest never copied once."""
    if Rung.POST_COPY not in limits.ladder or trend.now.round < 2:
        return False
    last_s = limits.deadline_s - limits.blackout_s - RESERVE_S
    return last_s - POST_COPY_MARGIN * estimate_s <= trend.elapsed_s < last_s


def _last_word(trend: Trend, limits: Limits, estimate_s: float, *, fits: bool) -> Verdict:
    if fits:
        return _verdict(trend, Move.PAUSE, "time is up and the pause fits the budget", estimate_s)
    if limits.over_budget is OverBudget.ACCEPT and trend.now.round >= 2 and estimate_s < float("inf"):
        why = f"time is up and a pause of {_ms(estimate_s)} is accepted"
        return _verdict(trend, Move.PAUSE, why, estimate_s)
    return _verdict(trend, Move.GIVE_UP, _too_busy(trend, limits, estimate_s), estimate_s)


def _climb(trend: Trend, limits: Limits, estimate_s: float) -> Verdict:
    """The next rung. Channels and compression were chosen before the copy began: policy/shape.py."""
    wanted = _slowdown(trend, limits)
    if Rung.THROTTLE not in limits.ladder or wanted <= trend.slowdown:
        if Rung.POST_COPY in limits.ladder:
            why = "nothing else makes it fit, so it moves before its memory"
            return Verdict(Move.POST_COPY, why, Rung.POST_COPY, trend.slowdown, estimate_s)
        why = "nothing more can be done but to wait until time is up"
        return _verdict(trend, Move.ANOTHER_ROUND, why, estimate_s)
    why = (
        f"it writes {trend.now.dirty_bytes_per_s / 1e6:.0f} MB/s and the path takes "
        f"{trend.speed_bytes_per_s / 1e6:.0f} MB/s, so it is slowed down by {wanted:.0%}"
    )
    return Verdict(Move.THROTTLE, why, Rung.THROTTLE, wanted, estimate_s)


def _slowdown(trend: Trend, limits: Limits) -> float:
    """What would bring the writing to a share of the path's speed, if all of the guest's time were writing.

    Full percents, because that is what QEMU takes; never above the operator's limit.
    """
    hidden = trend.foreseen_dirty_bytes_per_s * (1 - trend.slowdown)
    dirty, speed = max(trend.now.dirty_bytes_per_s, hidden), trend.speed_bytes_per_s
    left = (1 - trend.slowdown) * min(1.0, TARGET * speed / dirty) if dirty > 0 else 1.0
    least = trend.slowdown + THROTTLE_STEP if trend.slowdown else THROTTLE_FIRST
    wanted = max(1 - left, least)
    return int(min(wanted, limits.slowdown_max, 0.99) * 100 + 1e-6) / 100


def _verdict(trend: Trend, move: Move, reason: str, estimate_s: float) -> Verdict:
    return Verdict(move, reason, trend.rung, trend.slowdown, estimate_s)


def _too_busy(trend: Trend, limits: Limits, estimate_s: float) -> str:
    if trend.now.round < 2 and estimate_s <= limits.blackout_s:
        return f"after {trend.elapsed_s:.0f} s not all of its memory has been sent once"
    throttled = f", slowed down by {trend.slowdown:.0%}" if trend.slowdown else ""
    return (
        f"after {trend.now.round} rounds and {trend.elapsed_s:.0f} s{throttled} the pause would still be about "
        f"{_ms(estimate_s)}, more than the budget of {_ms(limits.blackout_s)}"
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms"
