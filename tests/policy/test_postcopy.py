"""What the source of a post-copy does next: it stays while it is needed, and does not wait for what is gone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.arrival import Flow, Presence, Serving
from segue.policy.postcopy import STALL_S, Duty, duty

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
