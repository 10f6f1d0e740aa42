"""The forecast: more to copy, more writing or a slower path never makes it shorter; and it knows the ladder."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.foresight import Figures, Lessons
from segue.model.ladder import LADDERS
from segue.model.migration import Forecast, Limits
from segue.policy.forecast import forecast, hopeless

memory = st.integers(1 << 20, 1 << 42)
rate = st.floats(0, 1e10)
link = st.floats(1e6, 1e11)
GENTLE = Limits(ladder=LADDERS["gentle"])
LINK = 118e6


def foresee(resident: int, dirty: float, speed: float, limits: Limits = GENTLE) -> Forecast:
    writes = ((0.15, dirty), (0.45, dirty))
    return forecast(Figures(resident, speed, writes, 0.001), Lessons(), limits)


@given(memory, rate, link)
def test_ranges_hold_their_figure(resident: int, dirty: float, speed: float) -> None:
    seen = foresee(resident, dirty, speed)
    assert seen.total_low_s <= seen.total_s <= seen.total_high_s
    assert seen.blackout_low_s <= seen.blackout_s <= seen.blackout_high_s
    assert seen.blackout_s <= seen.total_s


@given(memory, memory, link)
def test_more_memory_takes_longer(one: int, other: int, speed: float) -> None:
    small, large = sorted((one, other))
    assert foresee(small, 0, speed).total_s <= foresee(large, 0, speed).total_s


@given(memory, link)
def test_a_guest_that_writes_faster_than_the_path_keeps_all_for_the_blackout(
    resident: int, speed: float
) -> None:
    seen = foresee(resident, speed * 1.5, speed)
    assert seen.converges is (seen.blackout_s <= 0.3 and seen.total_s <= 3600)
    assert seen.blackout_s >= resident / speed * 0.9


@given(memory, rate, link, st.integers(0, 1 << 50))
def test_disks_take_what_the_path_needs_for_them(
    resident: int, dirty: float, speed: float, held: int
) -> None:
    figures = Figures(resident, speed, ((0.15, dirty),), 0.001)
    without, brought = (
        forecast(each, Lessons(), GENTLE)
        for each in (figures, replace(figures, disk_bytes=held, mirrored=True))
    )
    assert brought.total_s >= without.total_s + held / speed
    assert 0 < brought.blackout_s - without.blackout_s < 0.05
    assert hopeless(brought, Limits(deadline_s=brought.total_low_s / 2, blackout_s=1e9))


def test_an_idle_guest_pauses_for_the_fixed_costs_only() -> None:
    assert foresee(1 << 30, 0, 1e9).blackout_s < 0.02


def test_a_small_working_set_bounds_the_blackout() -> None:
    again = Figures(1 << 30, LINK, ((0.15, 178e6), (0.45, 30e6)), 0.001)
    assert again.working_set_bytes < 16e6
    assert forecast(again, Lessons(), GENTLE).converges


@given(st.floats(0.6, 0.949), st.floats(1.0, 60.0))
def test_a_guest_that_writes_a_little_less_than_one_that_is_throttled_does_not_take_longer(
    share: float, deadline_s: float
) -> None:
    bounds = Limits(deadline_s=deadline_s)
    throttled = foresee(1 << 28, 0.95 * LINK, LINK, bounds)
    assert "throttle" in throttled.basis
    assert foresee(1 << 28, share * LINK, LINK, bounds).total_s <= throttled.total_s + 0.2


def test_the_throttle_that_is_allowed_is_foreseen() -> None:
    assert not foresee(1 << 28, 1.5 * LINK, LINK).converges
    assert not foresee(1 << 28, 1.5 * LINK, LINK, Limits(slowdown_max=0.1)).converges
    assert foresee(1 << 28, 1.5 * LINK, LINK, Limits(slowdown_max=0.8)).converges


def test_a_cap_slows_the_copy_and_not_the_blackout() -> None:
    free = foresee(1 << 28, 1e6, LINK)
    capped = foresee(1 << 28, 1e6, LINK, Limits(bandwidth_bytes_per_s=10_000_000))
    assert capped.total_s > 5 * free.copy_s
    assert capped.rest_s <= 0.3


def test_a_factor_that_was_learnt_refuses_nobody_alone() -> None:
    """A guest that writes 90 % of the path was throttled before, and each of its copies took five times as long as the
    formula says: its next one may still keep a deadline that the formula keeps."""
    slow = Lessons(runs=4, copy_scale=5.0, total_spread=0.1, blackout_spread=0.1)
    writes = ((0.15, 0.9 * LINK), (0.45, 0.9 * LINK))
    limits = Limits(deadline_s=20.0)
    seen = forecast(Figures(160 << 20, LINK, writes, 0.001), slow, limits)
    assert seen.total_s > limits.deadline_s
    assert not hopeless(seen, limits)
