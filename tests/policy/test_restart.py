"""An application that ended by itself: started again or not, and never at once for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.application import Restart
from segue.policy import restart

statuses = st.one_of(st.none(), st.integers(-64, 255))
policies = st.sampled_from(Restart)


@given(statuses, st.integers(0, 1000))
def test_without_a_policy_it_stays_ended(status: int | None, failures: int) -> None:
    assert restart.wait_s(Restart.NO, status, failures) is None


@given(statuses, st.integers(0, 1000))
def test_on_failure_looks_at_the_status(status: int | None, failures: int) -> None:
    assert (restart.wait_s(Restart.ON_FAILURE, status, failures) is None) == (status == 0)


@given(policies, statuses, st.integers(0, 1000))
def test_it_is_waited_between_the_limits_and_never_shorter_after_one_more_failure(
    policy: Restart, status: int | None, failures: int
) -> None:
    now, then = (restart.wait_s(policy, status, failures + more) for more in (0, 1))
    assert (now is None) == (then is None)
    if now is not None and then is not None:
        assert restart.FIRST_S <= now <= then <= restart.MOST_S


@given(st.integers(0, 1000), st.floats(0, 1e6))
def test_failures_are_forgotten_by_one_that_ran_calmly(failures: int, ran_s: float) -> None:
    assert restart.failures_that_count(failures, ran_s) == (0 if ran_s >= restart.CALM_S else failures)


def test_an_application_that_always_fails_is_left_in_peace_for_a_minute() -> None:
    waits = [restart.wait_s(Restart.ALWAYS, 1, failures) for failures in range(9)]
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
