"""Judges the steps of a maintenance: does their order make sense, which is next on a host, how long does each take."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from segue.model.job import WITHIN_MOST_S
from segue.model.maintenance import CHANGING, TAKES_S, HostState, HostWork, Order, Step, StepKind

STEPS_MOST: Final = 40
SCRIPT_CHARS: Final = 16_384
RETRIES_MOST: Final = 10


def faults(procedure: Collection[Step]) -> tuple[str, ...]:
    """What is wrong with it, in words; none means that it can be carried out."""
    return tuple(_faults(tuple(procedure)))


def _faults(steps: tuple[Step, ...]) -> Iterator[str]:
    if not 1 <= len(steps) <= STEPS_MOST:
        yield f"a procedure has 1 to {STEPS_MOST} steps, this one has {len(steps)}"
    seen: set[StepKind] = set()
    for number, step in enumerate(steps, start=1):
        where = f"step {number} ({step.title})"
        kind = step.kind
        if kind is not StepKind.RUN and kind in seen and kind in _ONCE:
            yield f"{where} is there twice"
        for earlier, why in _NEEDS.get(kind, ()):
            if earlier not in seen:
                yield f"{where} needs `{earlier}` before it: {why}"
        if kind in _CLOSED and StepKind.UNCORDON in seen:
            yield f"{where} comes after `uncordon`: guests may be there again"
        if kind is StepKind.REBOOT and not step.when_wanted and drains_by_need(steps[:number]):
            yield f"{where} needs `when: wanted` as the drain before it has: else guests are still there"
        yield from (f"{where} {fault}" for fault in _figures(step))
        seen.add(kind)


_ONCE: Final = frozenset({StepKind.CORDON, StepKind.DRAIN, StepKind.UNCORDON, StepKind.RETURN})
_CLOSED: Final = frozenset({StepKind.CORDON, StepKind.DRAIN, StepKind.REBOOT})
_NEEDS: Final[Mapping[StepKind, tuple[tuple[StepKind, str], ...]]] = {
    StepKind.DRAIN: ((StepKind.CORDON, "else guests come in while others leave"),),
    StepKind.REBOOT: ((StepKind.DRAIN, "else guests end with the host"),),
    StepKind.UNCORDON: ((StepKind.CORDON, "else there is nothing to take back"),),
    StepKind.RETURN: (
        (StepKind.DRAIN, "else none has left"),
        (StepKind.UNCORDON, "else the host takes none in"),
    ),
}


def drains_by_need(steps: Iterable[Step]) -> bool:
    """True where guests leave a host only if its system wants a reboot."""
    return any(step.kind is StepKind.DRAIN and step.when_wanted for step in steps)


def _figures(step: Step) -> Iterator[str]:
    if (step.kind is StepKind.RUN) != bool(step.script.strip()):
        yield "has no script" if step.kind is StepKind.RUN else "takes no script"
    if len(step.script) > SCRIPT_CHARS:
        yield f"has a script of {len(step.script)} characters, more than {SCRIPT_CHARS}"
    if not 0 <= step.within_s <= WITHIN_MOST_S or not 0 <= step.takes_s <= WITHIN_MOST_S:
        yield "may take no longer than a day"
    if not 0 <= step.retries <= RETRIES_MOST or (step.retries and step.kind is not StepKind.RUN):
        yield f"is repeated 0 to {RETRIES_MOST} times, and only where it is `run`"
    if step.when_wanted and step.kind not in {StepKind.DRAIN, StepKind.REBOOT}:
        yield "cannot depend on whether a reboot is wanted"


def changes(procedure: Iterable[Step]) -> bool:
    """True where the agent must let the controller run commands or reboot the host."""
    return any(step.kind in {StepKind.RUN, StepKind.REBOOT} for step in procedure)


def drains(procedure: Iterable[Step]) -> bool:
    """True where guests leave the hosts."""
    return any(step.kind is StepKind.DRAIN for step in procedure)


def returns(procedure: Iterable[Step]) -> bool:
    """True where they come back."""
    return any(step.kind is StepKind.RETURN for step in procedure)


def following(procedure: tuple[Step, ...], work: HostWork) -> int:
    """The number of the step after this one; the length of the procedure where that was the last."""
    number = work.step + 1
    while number < len(procedure) and work.skipping and procedure[number].kind in CHANGING | {StepKind.DRAIN}:
        number += 1
    return number


def is_closed(order: Order, work: HostWork) -> bool:
    """True for a host that takes in no guest: from its first step until it is uncordoned, and where it failed."""
    if work.state is HostState.WORKING:
        return not any(step.kind is StepKind.UNCORDON for step in order.procedure[: work.step])
    return work.state in {HostState.FAILED, HostState.ABORTED}


def emptied(order: Order, works: Mapping[str, HostWork]) -> tuple[str, ...]:
    """Hosts that guests have to leave, or that must stay empty, now."""
    at_drain = [number for number, step in enumerate(order.procedure) if step.kind is StepKind.DRAIN]
    if not at_drain:
        return ()
    return tuple(
        name
        for name, work in works.items()
        if work.state is HostState.WORKING
        and work.step >= at_drain[0]
        and not work.skipping
        and (work.wanted or not order.procedure[at_drain[0]].when_wanted)
        and is_closed(order, work)
    )


def fixed_s(order: Order, works: Mapping[str, HostWork]) -> float:
    """What the steps of one host take beside the moves: as other hosts took, or as it was said, or usual."""
    return sum(_step_s(number, step, works) for number, step in enumerate(order.procedure))


def _step_s(number: int, step: Step, works: Mapping[str, HostWork]) -> float:
    if step.kind in {StepKind.DRAIN, StepKind.RETURN}:
        return 0.0
    measured = [
        passed.ended_s - passed.begun_s
        for work in works.values()
        for passed in work.passed
        if passed.step == number and passed.ok and passed.ended_s >= passed.begun_s
    ]
    if measured:
        return statistics.median(measured)
    return step.takes_s or min(TAKES_S[step.kind], step.limit_s)
