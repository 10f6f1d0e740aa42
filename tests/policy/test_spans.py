"""Whatever a journal says, the spans made of it are one tree, and every step that was begun is in it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.lifecycle import Stage
from segue.model.migration import Failure, Limits, Migration, Outcome
from segue.model.trace import Arriving, Mark, Span, Trace
from segue.policy import spans

TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7")
DONE = Migration(
    "m1", "web1", "host1", "host2", Limits(), 100.0,
    stage=Stage.DONE, blackout_at_s=103.0, settling_at_s=103.2, ended_s=105.0, trace=TRACE,
    outcome=Outcome(blackout_s=0.05, stopped_at_s=103.1, resumed_at_s=103.15, timeline=(("copied", 0.02),)),
)  # fmt: skip
MARKS = [
    Mark("begun", "copy memory", 100.5), Mark("done", "copy memory", 102.9),
    Mark("begun", "hand off", 102.95), Mark("done", "hand off", 103.2),
    Mark("begun", "retire source", 103.3), Mark("done", "retire source", 104.9),
]  # fmt: skip


def named(told: tuple[Span, ...]) -> dict[str, Span]:
    return {span.name: span for span in told}


def test_a_migration_is_told_with_its_true_times() -> None:
    told = named(spans.of_source(DONE, MARKS))
    assert told["migrate"].id == TRACE.span
    assert told["migrate"].parent == TRACE.parent
    assert (told["migrate"].began_s, told["migrate"].ended_s) == (100.0, 105.0)
    assert (told["blackout"].began_s, told["blackout"].ended_s) == (103.1, 103.15)
    ((what, at_s),) = told["blackout"].events
    assert what == "copied"
    assert at_s == pytest.approx(103.12)
    assert told["blackout"].parent == told["hand off"].id
    assert told["hand off"].parent == TRACE.span
    assert told["copy memory"].parent == told["preparation"].id
    assert told["retire source"].parent == told["post-blackout"].id
    assert not any(span.fault for span in told.values())


def test_a_step_that_a_restarted_agent_began_again_is_told_twice() -> None:
    again = [MARKS[0], Mark("begun", "copy memory", 101.5), *MARKS[1:]]
    told = [span for span in spans.of_source(DONE, again) if span.name == "copy memory"]
    assert [(span.began_s, span.ended_s, bool(span.fault)) for span in told] == [
        (100.5, 101.5, True),
        (101.5, 102.9, False),
    ]
    assert told[0].id != told[1].id


def test_what_was_taken_back_is_told_with_the_reason() -> None:
    failure = Failure("aborted", "web1 was not moved", "the link broke", "todo")
    aborted = replace(
        DONE, stage=Stage.ABORTED, failure=failure, outcome=Outcome(), blackout_at_s=0.0, settling_at_s=0.0
    )
    marks = [MARKS[0], Mark("undoing", "", 101.0), Mark("undone", "copy memory", 101.4)]
    told = named(spans.of_source(aborted, marks))
    assert told["copy memory"].fault == told["migrate"].fault == "the link broke"
    assert (told["undo copy memory"].began_s, told["undo copy memory"].ended_s) == (101.0, 101.4)
    assert "blackout" not in told


steps = st.sampled_from(["reserve target", "copy memory", "hand off", "retire source"])
marks = st.lists(
    st.builds(
        Mark,
        st.sampled_from(["begun", "done", "undoing", "undone"]),
        steps,
        st.floats(99.0, 106.0) | st.just(0.0),
    ),
    max_size=20,
).map(lambda found: sorted(found, key=lambda mark: mark.at_s))
times = st.floats(0.0, 200.0)
migrations = st.builds(
    lambda stage, at_s, settling_s, ended_s, stopped_s, resumed_s: replace(
        DONE,
        stage=stage,
        blackout_at_s=at_s,
        settling_at_s=settling_s,
        ended_s=ended_s,
        outcome=Outcome(stopped_at_s=stopped_s, resumed_at_s=resumed_s),
    ),
    st.sampled_from([Stage.DONE, Stage.ABORTED, Stage.LOST]), times, times, times, times, times,
)  # fmt: skip


def demand_tree(told: tuple[Span, ...]) -> None:
    ids = [span.id for span in told]
    assert len(set(ids)) == len(ids)
    assert told[0].id == TRACE.span
    assert all(span.parent in ids for span in told[1:]), "a span without its parent"
    assert all(span.ended_s >= span.began_s for span in told)
    parents = {span.id: span.parent for span in told}
    for number in ids:
        seen = set[str]()
        at = number
        while at in parents:
            assert at not in seen, "a circle"
            seen.add(at)
            at = parents[at]


@given(migrations, marks)
def test_it_is_one_tree_with_every_step_that_was_begun(migration: Migration, found: list[Mark]) -> None:
    told = spans.of_source(migration, found)
    demand_tree(told)
    begun = Counter(mark.step for mark in found if mark.mark == "begun" and mark.at_s)
    assert {step: sum(span.name == step for span in told) for step in begun} == dict(begun)
    assert told == spans.of_source(migration, found), "another agent would tell it otherwise"


arriving = st.builds(
    Arriving, st.just(TRACE), st.just("web1"), st.just("u1"), st.just("m1"), st.just("host1"), times, times,
    st.lists(st.tuples(st.sampled_from(["heard", "landed", "resumed"]), times), max_size=4).map(tuple),
)  # fmt: skip


@given(arriving, times, st.sampled_from(["", "it was dropped"]))
def test_a_targets_part_is_one_tree_too(found: Arriving, ended_s: float, fault: str) -> None:
    told = spans.of_target(found, ended_s, fault)
    demand_tree(told)
    assert told[0].parent == TRACE.parent
    assert told[0].fault == fault


def test_a_controller_knows_its_own_span_whoever_led() -> None:
    root = spans.controllers(TRACE.id)
    asked = replace(DONE, trace=Trace(TRACE.id, TRACE.span, root))
    (span,) = spans.of_controller(asked, 99.0, 106.0, [("segue.task.id", "t1")])
    assert (span.id, span.parent) == (root, "")
    assert span.id != TRACE.span
    assert ("segue.task.id", "t1") in span.attributes
