"""What earlier migrations teach: fixed costs and ranges; and only those teach that ended as they were meant to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.foresight import Figures, Lessons
from segue.model.lifecycle import Stage
from segue.model.migration import Limits, Migration, Outcome
from segue.model.storage import DiskCopy, DiskFile
from segue.policy import lessons
from segue.policy.forecast import forecast

FIGURES = Figures(1 << 28, 118e6, ((0.15, 1e6), (0.45, 1e6)), 0.001)


def moved(number: int, scale: float, fixed_s: float, blackout_s: float, guest: str = "web1") -> Migration:
    """A migration that was foreseen without lessons, and took what it took."""
    seen = forecast(FIGURES, Lessons(), Limits())
    copy_s = scale * seen.copy_s
    outcome = Outcome(blackout_s=blackout_s, copy_s=copy_s, total_s=fixed_s + copy_s + seen.rest_s)
    return Migration(
        str(number), guest, "a", "b", Limits(), float(number), Stage.DONE, forecast=seen, outcome=outcome
    )


@given(st.floats(0.3, 3), st.floats(0.5, 30), st.floats(0.004, 0.2))
def test_what_always_costs_the_same_is_foreseen_the_next_time(
    scale: float, fixed_s: float, blackout_s: float
) -> None:
    earlier = [moved(n, scale, fixed_s, blackout_s) for n in range(6)]
    seen = forecast(FIGURES, lessons.learn(earlier, "web1"), Limits())
    assert abs(seen.total_s - earlier[0].outcome.total_s) < 0.25 * earlier[0].outcome.total_s
    assert abs(seen.blackout_s - blackout_s) < 0.01


@given(st.integers(1, 1 << 40), st.integers(1, 1 << 40))
def test_disks_that_come_along_teach_nothing_of_those_that_are_larger(before: int, now: int) -> None:
    figures = replace(FIGURES, disk_bytes=before, mirrored=True)
    seen = forecast(figures, Lessons(), Limits())
    outcome = Outcome(blackout_s=0.05, copy_s=seen.copy_s, total_s=3.0 + seen.copy_s + seen.disks_s)
    copies = (DiskCopy(DiskFile("root", "/a", "raw", before, before)),)
    earlier = [replace(moved(n, 1, 3, 0.05), forecast=seen, outcome=outcome, copies=copies) for n in range(3)]
    learnt = lessons.learn(earlier, "web1")
    larger = forecast(replace(figures, disk_bytes=now), learnt, Limits())
    assert larger.total_s - larger.disks_s == pytest.approx(3.0 + seen.copy_s, abs=0.2)
    assert larger.blackout_s == pytest.approx(0.05, abs=0.01)
    without = forecast(FIGURES, learnt, Limits())
    assert without.blackout_s < larger.blackout_s - 0.02, "its disks are not fixed costs"


@given(st.floats(0.02, 0.2), st.floats(0.02, 0.2))
def test_a_guest_that_goes_before_its_memory_learns_from_moves_that_went_so(
    first_s: float, last_s: float
) -> None:
    """Its pause holds no memory; in the benchmark 34 ms were foreseen as 245 after a move with all of it before."""
    asked = Limits(post_copy_after=1)
    earlier = [moved(n, 1, 3, last_s) for n in range(0, 6, 2)]
    for number in range(1, 6, 2):
        other = moved(number, 1, 3, first_s)
        earlier.append(replace(other, limits=asked, outcome=replace(other.outcome, serving_s=1.0)))
    before = forecast(FIGURES, lessons.learn(earlier, "web1", before_memory=True), asked)
    after = forecast(FIGURES, lessons.learn(earlier, "web1"), Limits())
    assert before.rest_s == 0
    assert before.blackout_s == pytest.approx(first_s, abs=0.005)
    assert after.blackout_s == pytest.approx(last_s, abs=0.005)


def test_one_move_teaches_what_it_cost_and_no_range() -> None:
    learnt = lessons.learn([moved(1, 1, 9, 0.1)], "web1")
    assert abs(learnt.fixed_total_s - 9) < 0.1
    assert abs(learnt.fixed_blackout_s - 0.1) < 0.01
    assert (learnt.total_spread, learnt.blackout_spread) == (
        Lessons().total_spread,
        Lessons().blackout_spread,
    )


def test_too_few_of_others_teach_nothing_and_failures_never_do() -> None:
    assert lessons.learn([moved(1, 1, 9, 0.1)], "db1") == Lessons()
    failed = [replace(moved(n, 1, 9, 0.1), stage=Stage.ABORTED) for n in range(9)]
    assert lessons.learn(failed, "web1") == Lessons()


def test_a_guest_teaches_more_of_itself_than_others_do() -> None:
    earlier = [moved(n, 1, 2, 0.01) for n in range(5)]
    earlier += [moved(n, 1, 20, 0.5, "db1") for n in range(10, 30)]
    assert lessons.learn(earlier, "web1").fixed_total_s < 3
    assert lessons.learn(earlier, "db1").fixed_total_s > 15


def test_errors_are_medians_of_what_was_told_before() -> None:
    assert lessons.errors([]).runs == 0
    told = lessons.errors([moved(n, 1, Lessons().fixed_total_s, 0.04) for n in range(5)])
    assert told.runs == told.blackout_runs == 5
    assert told.blackout_median > 0.3
    assert told.total_median < 0.05
