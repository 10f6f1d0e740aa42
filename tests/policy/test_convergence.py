"""Pre-copy always ends, never above the budget, and never on a sample of the first round."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.migration import Limits, Progress
from segue.policy import convergence
from segue.policy.convergence import Move, Trend, next_move, observe

limits = st.builds(
    Limits,
    blackout_s=st.floats(0.001, 5),
    preparation_s=st.floats(1, 10_000),
    stall_s=st.floats(1, 60),
    rounds_max=st.integers(2, 500),
)
progress = st.builds(
    Progress,
    round=st.integers(0, 600),
    total_bytes=st.just(1 << 30),
    remaining_bytes=st.integers(0, 1 << 32),
    transferred_bytes=st.integers(0, 1 << 40),
    link_bytes_per_s=st.floats(0, 1e11),
)
elapsed = st.floats(0, 20_000)


def trend_of(samples: list[tuple[Progress, float]]) -> Trend:
    trend = Trend()
    for sample, at_s in sorted(samples, key=lambda pair: pair[1]):
        trend = observe(trend, sample, at_s)
    return trend


samples = st.lists(st.tuples(progress, elapsed), min_size=1, max_size=20)


@given(samples, limits)
def test_it_ends_at_the_limits(seen: list[tuple[Progress, float]], bounds: Limits) -> None:
    trend = trend_of(seen)
    if trend.elapsed_s >= bounds.preparation_s or trend.now.round >= bounds.rounds_max:
        assert next_move(trend, bounds).move is not Move.ANOTHER_ROUND


@given(samples, limits)
def test_a_pause_is_never_foreseen_above_the_budget(
    seen: list[tuple[Progress, float]], bounds: Limits
) -> None:
    trend = trend_of(seen)
    if next_move(trend, bounds).move is Move.PAUSE:
        estimate_s = convergence.blackout_estimate_s(trend.now.remaining_bytes, trend.link_bytes_per_s)
        assert estimate_s <= bounds.blackout_s
        assert trend.now.round >= 2


@given(samples, limits)
def test_every_verdict_says_why(seen: list[tuple[Progress, float]], bounds: Limits) -> None:
    assert next_move(trend_of(seen), bounds).reason


@given(st.integers(0, 1 << 40), st.floats(1, 1e12), st.floats(1, 1e12))
def test_a_faster_link_never_lengthens_the_pause(rest: int, slow: float, fast: float) -> None:
    slow, fast = sorted((slow, fast))
    assert convergence.blackout_estimate_s(rest, fast) <= convergence.blackout_estimate_s(rest, slow)


def test_nothing_arriving_is_a_stall_not_slowness() -> None:
    bounds = Limits(stall_s=5)
    trend = observe(Trend(), Progress(round=1, transferred_bytes=7, remaining_bytes=1 << 30), 1.0)
    moving = observe(trend, Progress(round=1, transferred_bytes=8, remaining_bytes=1 << 30), 7.0)
    stalled = observe(trend, Progress(round=1, transferred_bytes=7, remaining_bytes=1 << 30), 7.0)
    assert next_move(moving, bounds).move is Move.ANOTHER_ROUND
    assert next_move(stalled, bounds).move is Move.GIVE_UP
