"""Pre-copy always ends in time, never above the budget unless told so, never throttles beyond the limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.ladder import LADDERS, OverBudget, Rung
from segue.model.migration import Limits, Progress
from segue.policy import convergence
from segue.policy.convergence import Move, Trend, Verdict, follow, next_move, observe

ENDS = frozenset({Move.PAUSE, Move.POST_COPY, Move.GIVE_UP})

limits = st.builds(
    Limits,
    blackout_s=st.floats(0.001, 5),
    deadline_s=st.floats(1, 10_000),
    stall_s=st.floats(1, 60),
    rounds_max=st.integers(2, 500),
    slowdown_max=st.floats(0, 0.99),
    over_budget=st.sampled_from(OverBudget),
    ladder=st.sampled_from([*LADDERS.values(), tuple(Rung), (Rung.THROTTLE,), ()]),
)
progress = st.builds(
    Progress,
    round=st.integers(0, 600),
    total_bytes=st.just(1 << 30),
    remaining_bytes=st.integers(0, 1 << 32),
    transferred_bytes=st.integers(0, 1 << 40),
    dirty_bytes_per_s=st.floats(0, 1e11),
    link_bytes_per_s=st.floats(0, 1e11),
)
samples = st.lists(st.tuples(progress, st.floats(0.001, 400)), min_size=1, max_size=30)
Course = list[tuple[Trend, Verdict]]


def course(seen: list[tuple[Progress, float]], bounds: Limits) -> Course:
    """What is decided at each sample, until it ends; a sample is followed by another after some seconds."""
    trend, at_s, found = Trend(), 0.0, []
    for sample, pause_s in seen:
        at_s += pause_s
        trend = observe(trend, sample, at_s)
        verdict = next_move(trend, bounds)
        found.append((trend, verdict))
        if verdict.move in ENDS:
            break
        trend = follow(trend, verdict)
    return found


@given(samples, limits)
def test_it_ends_before_the_deadline(seen: list[tuple[Progress, float]], bounds: Limits) -> None:
    for trend, verdict in course(seen, bounds):
        if trend.elapsed_s >= bounds.deadline_s - bounds.blackout_s - convergence.RESERVE_S:
            assert verdict.move in ENDS
        if trend.now.round >= bounds.rounds_max:
            assert verdict.move in ENDS


@given(samples, limits)
def test_a_pause_is_foreseen_inside_the_budget_unless_told_otherwise(
    seen: list[tuple[Progress, float]], bounds: Limits
) -> None:
    for trend, verdict in course(seen, bounds):
        if verdict.move is Move.PAUSE:
            estimate_s = convergence.blackout_estimate_s(
                trend.now.remaining_bytes, trend.speed_bytes_per_s, 0.0
            )
            assert estimate_s <= bounds.blackout_s or bounds.over_budget is OverBudget.ACCEPT
            assert trend.now.round >= 2


@given(samples, limits)
def test_the_operators_limit_holds_for_every_throttle(
    seen: list[tuple[Progress, float]], bounds: Limits
) -> None:
    for _, verdict in course(seen, bounds):
        assert verdict.slowdown <= bounds.slowdown_max
        if Rung.THROTTLE not in bounds.ladder:
            assert verdict.slowdown == 0
            assert verdict.move is not Move.THROTTLE


@given(samples, limits)
def test_rungs_are_only_climbed(seen: list[tuple[Progress, float]], bounds: Limits) -> None:
    order = list(Rung)
    heights = [(order.index(verdict.rung), verdict.slowdown) for _, verdict in course(seen, bounds)]
    assert heights == sorted(heights)
    for one, other in zip(course(seen, bounds), course(seen, bounds)[1:], strict=False):
        if other[1].move is Move.THROTTLE:
            assert other[1].slowdown > one[1].slowdown


@given(samples, limits)
def test_every_verdict_says_why(seen: list[tuple[Progress, float]], bounds: Limits) -> None:
    assert all(verdict.reason for _, verdict in course(seen, bounds))


@given(samples, limits)
def test_an_accepted_pause_is_waited_for_and_another_never_longer_than_its_budget(
    seen: list[tuple[Progress, float]], bounds: Limits
) -> None:
    for _, verdict in course(seen, bounds):
        shown = Progress(blackout_estimate_s=verdict.estimate_s)
        limit_s = convergence.completion_limit_s(bounds, shown)
        if verdict.move is Move.PAUSE:
            assert limit_s >= min(verdict.estimate_s - convergence.FIXED_BLACKOUT_S, 0.8 * bounds.blackout_s)
        if bounds.over_budget is OverBudget.ABORT:
            assert 0 < limit_s < bounds.blackout_s


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


def simulate(
    dirty: float, speed: float, working_set: float, bounds: Limits, *, foreseen: float = 0.0
) -> Course:
    """A guest that writes `dirty` bytes/s over `working_set` bytes, on a path of `speed`; 1 GiB of memory."""
    trend = Trend(foreseen_dirty_bytes_per_s=foreseen)
    at_s, sent, rest, found = 0.0, 0.0, float(1 << 30), []
    for number in range(1, 5000):
        pass_s = max(rest / speed, 0.1)
        at_s, sent = at_s + pass_s, sent + rest
        rate = dirty * (1 - trend.slowdown)
        rest = min(rate * pass_s, working_set)
        sample = Progress(
            round=number,
            total_bytes=1 << 30,
            remaining_bytes=int(rest),
            transferred_bytes=int(sent),
            copied_bytes=int(sent),
            dirty_bytes_per_s=rest / pass_s,
            link_bytes_per_s=speed,
            slowdown=trend.slowdown,
        )
        trend = observe(trend, sample, at_s)
        verdict = next_move(trend, bounds)
        found.append((trend, verdict))
        if verdict.move in ENDS:
            return found
        trend = follow(trend, verdict)
    raise AssertionError("it does not end")


@given(st.sampled_from([0.25, 0.5, 0.9]))
def test_a_guest_that_writes_less_than_the_path_takes_is_not_throttled(share: float) -> None:
    seen = simulate(share * 125e6, 125e6, 64 << 20, Limits(deadline_s=300))
    assert seen[-1][1].move is Move.PAUSE
    assert seen[-1][1].slowdown == 0


def test_a_guest_that_writes_more_than_the_path_takes_is_throttled_and_moves() -> None:
    seen = simulate(1.5 * 125e6, 125e6, 64 << 20, Limits(deadline_s=60, slowdown_max=0.8))
    assert seen[-1][1].move is Move.PAUSE
    assert 0 < seen[-1][1].slowdown <= 0.8
    assert seen[-1][0].elapsed_s < 60


def test_it_is_not_moved_where_the_operator_forbids_to_throttle() -> None:
    bounds = Limits(deadline_s=60, ladder=LADDERS["gentle"])
    assert simulate(1.5 * 125e6, 125e6, 64 << 20, bounds)[-1][1].move is Move.GIVE_UP
    accepted = simulate(1.5 * 125e6, 125e6, 64 << 20, replace(bounds, over_budget=OverBudget.ACCEPT))
    assert accepted[-1][1].move is Move.PAUSE
    assert accepted[-1][1].estimate_s > bounds.blackout_s


def test_the_deadline_beats_patience() -> None:
    seen = simulate(1.5 * 125e6, 125e6, 64 << 20, Limits(deadline_s=25, slowdown_max=0.9))
    assert seen[-1][0].elapsed_s <= 25


def test_a_rate_hidden_by_a_small_working_set_is_throttled_in_one_step() -> None:
    bounds = Limits(deadline_s=300, slowdown_max=0.95)
    blind = simulate(90e6, 10e6, 64 << 20, bounds)
    seeing = simulate(90e6, 10e6, 64 << 20, bounds, foreseen=90e6)
    assert blind[-1][1].move is seeing[-1][1].move is Move.PAUSE
    assert seeing[-1][0].elapsed_s < blind[-1][0].elapsed_s
    assert sum(verdict.move is Move.THROTTLE for _, verdict in seeing) == 1


@given(st.integers(0, 5), st.integers(1, 9), st.integers(0, 1 << 33))
def test_post_copy_that_was_asked_for_comes_even_where_a_pause_would_fit(
    after: int, number: int, left_bytes: int
) -> None:
    sample = Progress(round=number, total_bytes=1 << 33, remaining_bytes=left_bytes, link_bytes_per_s=1e8)
    trend = observe(Trend(), sample, 1.0)
    verdict = next_move(trend, Limits(post_copy_after=after))
    assert (verdict.move is Move.POST_COPY) is (number > after)


def test_memory_that_was_never_sent_once_is_no_pause_over_the_budget() -> None:
    bounds = Limits(blackout_s=5, deadline_s=60, stall_s=500)
    trend = Trend(foreseen_bytes_per_s=1e9)
    slow = observe(trend, Progress(round=1, transferred_bytes=1, remaining_bytes=1 << 20), 55.0)
    verdict = next_move(slow, bounds)
    assert verdict.move is Move.GIVE_UP
    assert verdict.reason == "after 55 s not all of its memory has been sent once"


def test_where_too_little_goes_to_measure_the_path_the_forecast_stands_for_it() -> None:
    """An application whose memory cannot go before: its few files alone go in rounds."""
    few = Progress(round=3, transferred_bytes=4000, remaining_bytes=900, elapsed_s=2.0)
    trend = Trend(foreseen_bytes_per_s=1e8, fixed_s=0.3)
    for at_s in (1.0, 2.0):
        trend = observe(trend, few, at_s)
    assert next_move(trend, Limits(blackout_s=3.0)).move is Move.PAUSE
    fast = observe(trend, replace(few, link_bytes_per_s=1e6), 3.0)
    assert fast.speed_bytes_per_s == 1e6, "what is measured counts"


def test_a_guest_that_wrote_unseen_is_not_paused_with_all_of_that_left() -> None:
    """Its disks were tied meanwhile, for longer than anybody waits for a better moment."""
    trend = Trend(foreseen_bytes_per_s=1e8)
    trend = observe(trend, Progress(round=3, transferred_bytes=1 << 28, remaining_bytes=2_000_000), 4.0)
    wrote = Progress(round=4, transferred_bytes=2 << 28, remaining_bytes=15_000_000)
    assert next_move(observe(trend, wrote, 10.0), Limits()).move is Move.PAUSE
    renewed = observe(convergence.anew(trend), wrote, 10.0)
    assert next_move(renewed, Limits()).move is Move.ANOTHER_ROUND
    less = replace(wrote, round=5, transferred_bytes=3 << 28, remaining_bytes=900_000)
    assert next_move(observe(renewed, less, 10.2), Limits()).move is Move.PAUSE


def test_a_rest_that_is_compressed_on_its_way_is_not_held_for_larger_than_it_is() -> None:
    """It is counted in bytes of the guest, and so is what the path takes of them."""
    trend = Trend()
    for number in range(6):
        half = Progress(
            round=2,
            transferred_bytes=number * 25_000_000,
            copied_bytes=number * 50_000_000,
            remaining_bytes=20_000_000,
        )
        trend = observe(trend, half, 0.5 * number)
    assert trend.speed_bytes_per_s == pytest.approx(1e8)
    assert next_move(trend, Limits()).estimate_s == pytest.approx(convergence.FIXED_BLACKOUT_S + 0.2)
