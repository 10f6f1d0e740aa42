"""Tells a migration as spans of a trace, from what was written down while it went on. It judges nothing, and knows
no time but what is handed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from segue.model.lifecycle import Stage
from segue.model.migration import Migration
from segue.model.trace import Arriving, Mark, Span, Trace

CUT_OFF: Final = "it was cut off: the agent was restarted, or the migration ended"
CONTROLLER: Final = "controller"
"""The span of the controller that asked for a migration has an id that follows from the trace's."""


def of_source(migration: Migration, marks: Sequence[Mark]) -> tuple[Span, ...]:
    """The whole migration, its stages, and every step and undo that its journal names, by the source's clock."""
    stages = tuple(_stages(migration))
    steps = tuple(_steps(migration, marks, stages))
    return (_whole(migration), *stages, *_blackout(migration, steps), *steps)


def of_target(arriving: Arriving, ended_s: float, fault: str = "") -> tuple[Span, ...]:
    """What the target did for a guest that came in, by its own clock."""
    trace = arriving.trace
    told: list[Span] = []

    def below(what: str, began_s: float, until_s: float, events: tuple[tuple[str, float], ...] = ()) -> None:
        until_s = max(began_s, until_s)
        told.append(Span(what, trace.child(what), trace.span, began_s, until_s, events=events))

    if arriving.placed_s:
        below("make room", arriving.began_s, arriving.placed_s)
    if arriving.marks:
        below("land and resume", arriving.marks[0][1], arriving.marks[-1][1], arriving.marks)
    names = (
        ("segue.migration.id", arriving.migration),
        ("segue.vm.name", arriving.guest),
        ("segue.source", arriving.source),
    )
    ended_s = max([ended_s, arriving.began_s, *(span.ended_s for span in told)])
    whole = Span("take in", trace.span, trace.parent, arriving.began_s, ended_s, names, fault=fault)
    return (whole, *told)


def controllers(trace_id: str) -> str:
    """The id of the controller's span in that trace: whoever leads when it ends knows it for a controller's."""
    return Trace(trace_id).child(CONTROLLER)


def of_controller(
    migration: Migration, began_s: float, ended_s: float, why: Iterable[tuple[str, str]]
) -> tuple[Span, ...]:
    """The controller's part: from its command until it hears of the end. why: the task, where it is known."""
    names = (*_names(migration), *why)
    fault = _fault(migration)
    ended_s = max(began_s, ended_s)
    return (Span("move", migration.trace.parent, "", began_s, ended_s, names, fault=fault),)


def _whole(migration: Migration) -> Span:
    trace, outcome = migration.trace, migration.outcome
    figures: tuple[tuple[str, str | int | float], ...] = (
        ("segue.result", migration.stage.value),
        ("segue.blackout_s", outcome.blackout_s),
        ("segue.clock_uncertainty_s", outcome.clock_uncertainty_s),
        ("segue.transferred_bytes", outcome.transferred_bytes or migration.progress.transferred_bytes),
        ("segue.rounds", outcome.rounds or migration.progress.round),
        ("segue.frames_forwarded", outcome.frames_steered),
    )
    attributes = (*_names(migration), *figures)
    began_s, ended_s = migration.started_s, _end(migration)
    return Span("migrate", trace.span, trace.parent, began_s, ended_s, attributes, fault=_fault(migration))


def _names(migration: Migration) -> tuple[tuple[str, str | int | float], ...]:
    return (
        ("segue.migration.id", migration.id),
        ("segue.vm.name", migration.guest),
        ("segue.source", migration.source),
        ("segue.target", migration.target),
    )


def _fault(migration: Migration) -> str:
    if migration.stage is Stage.DONE:
        return ""
    return migration.failure.why if migration.failure else f"it ended as {migration.stage}"


def _end(migration: Migration) -> float:
    return max(migration.started_s, migration.ended_s)


def _stages(migration: Migration) -> Iterator[Span]:
    trace, ended_s = migration.trace, _end(migration)

    def stage(name: str, began_s: float, until_s: float) -> Span:
        return Span(name, trace.child(name), trace.span, began_s, max(began_s, until_s))

    yield stage("preparation", migration.started_s, migration.blackout_at_s or ended_s)
    if migration.settling_at_s:
        yield stage("post-blackout", migration.settling_at_s, ended_s)


def _blackout(migration: Migration, steps: Sequence[Span]) -> Iterator[Span]:
    """As it was measured, below the step in which it was; absent where nobody knows both of its ends."""
    outcome, trace = migration.outcome, migration.trace
    began_s, until_s = outcome.stopped_at_s, outcome.resumed_at_s
    if not began_s or not until_s:
        return
    around = [step for step in steps if step.parent == trace.span and step.began_s <= began_s]
    parent = around[-1].id if around else trace.span
    events = tuple((what, began_s + after_s) for what, after_s in outcome.timeline)
    yield Span("blackout", trace.child("blackout"), parent, began_s, max(began_s, until_s), events=events)


def _steps(migration: Migration, marks: Sequence[Mark], stages: Sequence[Span]) -> Iterator[Span]:
    """A step that was begun again, by a restarted agent, is told each time."""
    trace, seen = migration.trace, Counter[str]()
    under_way: dict[str, float] = {}
    undone_until_s = 0.0

    def told(name: str, began_s: float, until_s: float, fault: str = "") -> Span:
        seen[name] += 1
        until_s = max(began_s, until_s)
        around = (s for s in stages if s.began_s <= began_s and until_s <= s.ended_s)
        parent = next(around, None)
        number = trace.child(f"{name} {seen[name]}")
        return Span(name, number, parent.id if parent else trace.span, began_s, until_s, fault=fault)

    for mark in (mark for mark in marks if mark.at_s):
        if mark.mark == "begun":
            if mark.step in under_way:
                yield told(mark.step, under_way[mark.step], mark.at_s, CUT_OFF)
            under_way[mark.step] = mark.at_s
        elif mark.mark == "done" and mark.step in under_way:
            yield told(mark.step, under_way.pop(mark.step), mark.at_s)
        elif mark.mark == "undoing":
            yield from (told(step, at_s, mark.at_s, _fault(migration)) for step, at_s in under_way.items())
            under_way.clear()
            undone_until_s = mark.at_s
        elif mark.mark == "undone":
            yield told(f"undo {mark.step}", undone_until_s or mark.at_s, mark.at_s)
            undone_until_s = mark.at_s
    yield from (told(step, at_s, _end(migration), CUT_OFF) for step, at_s in under_way.items())
