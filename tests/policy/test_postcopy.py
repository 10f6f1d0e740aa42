"""What the source of a post-copy does next: it stays while it is needed, and does not wait for what is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.arrival import Flow, Presence, Serving
from segue.policy.postcopy import (
    GENTLE_S,
    STALL_S,
    Duty,
    background_bytes_per_s,
    duty,
    look_in_s,
)

here = st.builds(Serving, flow=st.sampled_from(Flow), remaining_bytes=st.integers(0, 1 << 40))
there = st.none() | st.builds(Presence, flow=st.sampled_from(Flow), loaded=st.booleans())
stalled = st.floats(0, 1e6)


@given(here, there, stalled)
def test_it_serves_on_only_while_pages_flow(ours: Serving, theirs: Presence | None, stalled_s: float) -> None:
    if duty(ours, theirs, stalled_s) is Duty.SERVE:
        assert ours.flow is Flow.FLOWING
        assert stalled_s < STALL_S
        assert theirs is None or theirs.flow not in {Flow.BROKEN, Flow.GONE}


@given(here, there, stalled)
def test_it_finishes_only_when_everything_is_there(
    ours: Serving, theirs: Presence | None, stalled_s: float
) -> None:
    if duty(ours, theirs, stalled_s) is Duty.FINISH:
        assert Flow.WHOLE in {ours.flow, theirs.flow if theirs else None}


@given(here, there, stalled)
def test_a_silent_target_is_never_given_up(ours: Serving, theirs: Presence | None, stalled_s: float) -> None:
    if theirs is None and ours.flow in {Flow.FLOWING, Flow.BROKEN}:
        assert duty(ours, theirs, stalled_s) in {Duty.SERVE, Duty.LET_GO, Duty.WAIT}


@given(there, stalled)
def test_a_guest_whose_memory_is_gone_is_declared_lost(theirs: Presence | None, stalled_s: float) -> None:
    whole = theirs is not None and theirs.flow is Flow.WHOLE
    assert duty(Serving(Flow.GONE), theirs, stalled_s) is (Duty.FINISH if whole else Duty.DECLARE_LOST)


@given(here, there, stalled)
def test_a_broken_path_is_mended_as_soon_as_the_target_answers(
    ours: Serving, theirs: Presence | None, stalled_s: float
) -> None:
    if ours.flow is Flow.BROKEN and theirs is not None and theirs.flow is not Flow.GONE:
        assert duty(ours, theirs, stalled_s) is Duty.RECONNECT


rates = st.integers(0, 1 << 40)


@given(st.floats(0, 1e12), rates, st.floats(0, 1e6))
def test_the_background_leaves_room_for_what_is_waited_for(path: float, cap: int, since_s: float) -> None:
    rate = background_bytes_per_s(path, cap, since_s)
    assert not cap or 0 < rate <= cap
    assert path < 2 or 0 < rate < path
    assert rate <= background_bytes_per_s(path, cap, since_s + GENTLE_S), "it does not become slower"


@given(rates, rates, st.floats(0.2, 60))
def test_it_is_looked_at_when_it_may_be_over(remaining: int, rate: int, longest_s: float) -> None:
    wait_s = look_in_s(remaining, rate, longest_s)
    assert 0 < wait_s <= longest_s
    assert wait_s == longest_s or wait_s * rate >= remaining * 0.999 or rate == 0
