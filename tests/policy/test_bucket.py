"""Never more than a burst and what has flowed in since; an idle caller is never refused."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.policy import bucket
from segue.policy.bucket import Bucket, Rate

rates = st.builds(Rate, st.integers(1, 50).map(float), st.floats(0.01, 10))
pauses = st.lists(st.floats(-5, 20), max_size=80)


@given(rates, pauses)
def test_no_more_than_a_burst_and_the_inflow(rate: Rate, pauses: list[float]) -> None:
    left: Bucket | None = None
    now, begun, newest, done = 100.0, 100.0, 100.0, 0
    backwards = 0.0
    for pause in pauses:
        now += pause
        backwards += max(0.0, newest - now)
        newest = max(newest, now)
        left, may = bucket.take(left, rate, now)
        done += may
    assert done <= rate.burst + (newest - begun + 2 * backwards) * rate.per_s + 1e-6


@given(rates)
def test_after_a_pause_there_is_a_burst_again(rate: Rate) -> None:
    left: Bucket | None = None
    for _ in range(200):
        left, may = bucket.take(left, rate, 0.0)
    assert not may
    for _ in range(int(rate.burst)):
        left, may = bucket.take(left, rate, 0.1 + rate.burst / rate.per_s)
        assert may
