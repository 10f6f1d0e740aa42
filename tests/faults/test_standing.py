"""The longest time in which nothing was counted is between the two counts around it."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from faults.standing import LOOK_S, Standing, watched


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 5.0)), max_size=30))
def test_it_stands_from_one_change_of_the_count_to_the_next(looks: list[tuple[bool, float]]) -> None:
    found, now_s, count, stretch_s, longest_s = Standing(), 0.0, 0.0, 0.0, 0.0
    found.see(count, now_s)
    for grows, after_s in looks:
        now_s += after_s
        stretch_s += after_s
        longest_s = max(longest_s, stretch_s)
        if grows:
            count, stretch_s = count + 1, 0.0
        found.see(count, now_s)
    assert abs(found.longest_s - longest_s) < 1e-9


def test_a_guest_that_does_not_answer_stands() -> None:
    asked = threading.Event()
    told = 0

    def count() -> float:
        nonlocal told
        told += 1
        if told == 2:
            raise OSError("no answer")
        if told == 4:
            asked.set()
        return float(told)

    with watched(count) as found:
        assert asked.wait(30)
    assert found.longest_s > LOOK_S
