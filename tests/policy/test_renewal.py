"""Renewals come early enough, never all at once, and a failed one is tried many times before it is too late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.policy import renewal

begins = st.floats(0, 2e9)
lives = st.floats(10, 1e8)
draws = st.floats(0, 1)


@given(begins, lives, draws)
def test_it_is_due_in_the_second_half_and_a_third_of_life_is_left(
    begin: float, life: float, draw: float
) -> None:
    due = renewal.due_s(begin, begin + life, draw)
    assert begin + life * 0.5 < due <= begin + life * 0.667 + 1e-6


@given(begins, lives)
def test_hosts_that_were_certified_together_do_not_come_together(begin: float, life: float) -> None:
    first, last = (renewal.due_s(begin, begin + life, draw) for draw in (1.0, 0.0))
    assert last - first > life * 0.09


@given(lives.filter(lambda life: life > 600), draws)
def test_many_tries_fit_before_the_end(life: float, draw: float) -> None:
    now, end, tries = renewal.due_s(0.0, life, 0.0), life, 0
    while now < end and tries < 10:
        pause = renewal.again_in_s(end, now, draw)
        assert pause > 0
        now, tries = now + pause, tries + 1
    assert tries == 10


@given(begins, lives, draws)
def test_nobody_complains_before_it_was_due_and_a_quarter_is_left_to_mend_it(
    begin: float, life: float, draw: float
) -> None:
    due, end = renewal.due_s(begin, begin + life, draw), begin + life
    assert not renewal.is_overdue(begin, end, due)
    assert renewal.is_overdue(begin, end, end - life * 0.24)


@given(begins, lives, draws)
def test_who_asks_when_it_is_time_may_have_it_and_nobody_after_the_end(
    begin: float, life: float, draw: float
) -> None:
    now = begin + life * 2 * draw
    if renewal.is_time(begin, begin + life, now):
        assert renewal.may(begin, begin + life, now)
    if now >= begin + life or draw < 0.25:
        assert not renewal.may(begin, begin + life, now)
