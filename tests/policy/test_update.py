"""Who is due for another QEMU, how many at once, and what forbids it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.policy import update

names = st.lists(st.text("abc", min_size=1, max_size=3), unique=True, max_size=8)


@given(names, st.sets(st.text("abc", min_size=1, max_size=3), max_size=4), st.integers(1, 5))
def test_no_more_at_once_than_allowed_and_none_twice(left: list[str], busy: set[str], parallel: int) -> None:
    begun = update.wave(left, busy, parallel)
    assert len(begun) + len(busy) <= max(parallel, len(busy))
    assert set(begun) <= set(left) - busy
    assert len(set(begun)) == len(begun)


@given(names, st.integers(1, 5))
def test_all_of_them_have_their_turn(left: list[str], parallel: int) -> None:
    turns, waiting = 0, list(left)
    while waiting:
        begun = update.wave(waiting, (), parallel)
        waiting = [name for name in waiting if name not in begun]
        turns += 1
    assert turns == -(-len(left) // parallel)


@given(
    st.sampled_from(["owner", "offered", "released", "incoming", "absent"]),
    st.sampled_from(["running", "paused", "stopped", "crashed", "incoming"]),
    st.sampled_from(["", "10.0.13"]),
    st.booleans(),
    st.booleans(),
)
def test_only_a_machine_that_runs_by_right_is_due(
    phase: str, state: str, qemu: str, is_outdated: bool, again: bool
) -> None:
    due = update.is_due(phase, state, qemu, is_outdated=is_outdated, again=again)
    assert due == (phase == "owner" and state == "running" and qemu != "" and (is_outdated or again))
