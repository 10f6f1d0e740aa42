"""The marks around a blackout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.engine import timeline

marks = st.lists(st.tuples(st.sampled_from(["steered", "copied", "owner"]), st.floats(0, 2e9)), max_size=8)


def test_the_guest_stands_at_zero_and_what_was_before_is_below() -> None:
    told = timeline.since(100.0, [("resumed", 100.25), ("stopped", 100.0), ("steered", 99.5)])
    assert [what for what, _ in told] == ["steered", "stopped", "resumed"]
    assert [at_s for _, at_s in told] == pytest.approx([-0.5, 0.0, 0.25])


@given(st.floats(0, 2e9), marks)
def test_marks_come_in_the_order_of_their_times_and_none_is_lost(
    stopped_at_s: float, seen: list[tuple[str, float]]
) -> None:
    told = timeline.since(stopped_at_s, seen)
    assert sorted(what for what, _ in told) == sorted(what for what, _ in seen)
    assert [at_s for _, at_s in told] == sorted(at_s for _, at_s in told)
