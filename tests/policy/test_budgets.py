"""An application's budget is one that CRIU can keep, and its forecast grows with its memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model import guest as guests
from segue.model.application import Application
from segue.model.guest import Guest
from segue.model.ladder import LADDERS, Rung
from segue.model.migration import Limits
from segue.policy import budgets

APP = guests.application(
    "cache1", "u1", 64 << 20, Application(image="sha256:1", reference="redis", args=("x",)), ()
)
speeds = st.floats(1e6, 1e11)


@given(st.floats(0.01, 100), st.sampled_from(sorted(LADDERS)))
def test_what_the_operator_asked_for_is_kept(blackout_s: float, ladder: str) -> None:
    asked = Limits(blackout_s=blackout_s, blackout_said=True, ladder=LADDERS[ladder])
    limits = budgets.limits_of(APP, asked)
    assert limits.blackout_s == blackout_s
    assert limits.ladder == (Rung.WAIT,)
    assert limits.on_demand is (Rung.POST_COPY in LADDERS[ladder])
    assert not limits.post_copy, "the engine has nothing to serve"
    again = budgets.limits_of(APP, replace(asked, post_copy_after=3))
    assert (again.on_demand, again.post_copy_after) == (True, -1)
    assert budgets.limits_of(_machine(), asked) == asked


def test_a_machines_usual_budget_is_not_that_of_an_application_but_where_it_was_asked_for() -> None:
    assert budgets.limits_of(APP, Limits()).blackout_s == budgets.BLACKOUT_S
    asked = Limits(blackout_said=True)
    assert budgets.limits_of(APP, asked).blackout_s == Limits().blackout_s


def _machine() -> Guest:
    return replace(APP, app=None)


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), speeds, st.booleans(), st.booleans())
def test_more_memory_is_a_longer_blackout(
    one: int, more: int, speed: float, before: bool, late: bool
) -> None:
    less, most = (
        budgets.forecast(each, speed, "", goes_before=before, on_demand=late) for each in (one, one + more)
    )
    at_once = budgets.forecast(one, speed, "", goes_before=before)
    assert less.blackout_s <= at_once.blackout_s
    assert budgets.FIXED_BLACKOUT_S <= less.blackout_s <= most.blackout_s
    assert most.blackout_low_s <= most.blackout_s <= most.blackout_high_s < most.total_high_s
