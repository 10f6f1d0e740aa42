"""Averages follow the load, begin where it is, and never leave what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.load import Meter, Smoothed, Use
from segue.policy import smoothing

cores = st.floats(0, 256)
spans = st.floats(0.5, 120)


@given(st.lists(st.tuples(cores, spans), min_size=1, max_size=50))
def test_averages_lie_within_what_was_measured(samples: list[tuple[float, float]]) -> None:
    known = Smoothed()
    for cpu, over_s in samples:
        known = smoothing.smooth(known, Use(cpu_cores=cpu), over_s)
    seen = [cpu for cpu, _ in samples]
    for average in (known.now.cpu_cores, known.before.cpu_cores):
        assert min(seen) - 1e-6 <= average <= max(seen) + 1e-6
    assert abs(known.span_s - sum(over_s for _, over_s in samples)) < 1e-6


@given(cores, spans)
def test_the_first_sample_is_taken_as_it_is(cpu: float, over_s: float) -> None:
    known = smoothing.smooth(Smoothed(), Use(cpu_cores=cpu), over_s)
    assert abs(known.now.cpu_cores - cpu) < 1e-9
    assert abs(known.before.cpu_cores - cpu) < 1e-9


def test_a_spike_moves_the_short_average_and_hardly_the_long_one() -> None:
    known = Smoothed()
    for _ in range(120):
        known = smoothing.smooth(known, Use(cpu_cores=0.1), 5.0)
    for _ in range(6):
        known = smoothing.smooth(known, Use(cpu_cores=4.0), 5.0)
    assert known.now.cpu_cores > 1.5
    assert known.before.cpu_cores < 0.4


@given(st.floats(0, 1e6), st.floats(0, 1e6), spans)
def test_no_counter_runs_backwards(before: float, now: float, over_s: float) -> None:
    found = smoothing.use(Meter(cpu_s=before), Meter(cpu_s=now), over_s)
    assert 0 <= found.cpu_cores <= now / over_s + 1e-9
