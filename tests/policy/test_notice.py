"""How long a guest is waited for: never without a registration, never beyond the host's limit by the guest's wish."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.notice import Subscription
from segue.policy import guest_clock, notice

seconds = st.floats(0, 1e6)
programs = st.lists(st.builds(Subscription, st.just("p"), seconds), max_size=5)


@given(seconds, seconds)
def test_who_never_asked_costs_no_wait(notice_s: float, most_s: float) -> None:
    assert notice.wait_s(notice_s, (), most_s) == 0


@given(programs.filter(bool), seconds)
def test_guests_get_what_they_ask_for_up_to_the_hosts_limit(asked: list[Subscription], most_s: float) -> None:
    wait_s = notice.wait_s(0, asked, most_s)
    assert 0 <= wait_s <= most_s
    assert all(wait_s >= min(one.lead_s, most_s) for one in asked)


@given(programs.filter(bool), seconds.filter(bool), seconds)
def test_the_operators_word_is_the_last(asked: list[Subscription], notice_s: float, most_s: float) -> None:
    assert notice.wait_s(notice_s, asked, most_s) == notice_s


@given(seconds, seconds)
def test_a_clock_is_put_forward_by_the_blackout_or_left_alone(stood_s: float, uncertainty_s: float) -> None:
    step_s = guest_clock.step_s(stood_s, uncertainty_s)
    assert step_s in {0.0, stood_s}
    assert abs(stood_s - step_s) + (uncertainty_s if step_s else 0) <= max(stood_s, 0.0), (
        "nearer to the truth"
    )
