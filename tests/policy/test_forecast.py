"""The forecast: more to copy, more writing or a slower path never makes it shorter."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.policy.forecast import forecast

memory = st.integers(1 << 20, 1 << 42)
rate = st.floats(0, 1e10)
link = st.floats(1e6, 1e11)


@given(memory, rate, link)
def test_ranges_hold_their_figure(resident: int, dirty: float, speed: float) -> None:
    seen = forecast(resident, dirty, speed, 0.3, 0.001)
    assert seen.total_low_s <= seen.total_s <= seen.total_high_s
    assert seen.blackout_low_s <= seen.blackout_s <= seen.blackout_high_s
    assert seen.blackout_s <= seen.total_s


@given(memory, memory, rate, link)
def test_more_memory_takes_longer(one: int, other: int, dirty: float, speed: float) -> None:
    small, large = sorted((one, other))
    assert forecast(small, 0, speed, 0.3, 0).total_s <= forecast(large, 0, speed, 0.3, 0).total_s


@given(memory, link)
def test_a_guest_that_writes_faster_than_the_path_does_not_converge(resident: int, speed: float) -> None:
    seen = forecast(resident, speed * 1.5, speed, 0.3, 0.001)
    assert seen.converges is (seen.blackout_s <= 0.3)
    assert seen.blackout_s >= resident / speed * 0.9


def test_an_idle_guest_pauses_for_the_fixed_costs_only() -> None:
    assert forecast(1 << 30, 0, 1e9, 0.3, 0.001).blackout_s < 0.02
