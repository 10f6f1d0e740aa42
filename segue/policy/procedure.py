"""Judges the steps of a maintenance: does their order make sense, which is next on a host, how long does each take."""

from __future__ import annotations

import re
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import urlsplit

from segue.model.job import WITHIN_MOST_S
from segue.model.maintenance import (
    BY_BMC,
    BY_COMMAND,
    CHANGING,
    TAKES_S,
    HostState,
    HostWork,
    Order,
    Step,
    StepKind,
)

STEPS_MOST: Final = 40
SCRIPT_CHARS: Final = 16_384
RETRIES_MOST: Final = 10
GRACEFUL_MOST_S: Final = 3600.0
SCHEMES: Final = ("http", "https", "ftp", "sftp", "scp", "tftp", "nfs", "cifs")
"""By which a BMC may fetch an image (Redfish, TransferProtocolType)."""
SHA256: Final = re.compile("[0-9a-f]{64}")


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
        if kind in seen and kind in _ONCE:
            yield f"{where} is there twice"
        for earlier, why in _NEEDS.get(kind, ()):
            if earlier not in seen:
                yield f"{where} needs `{earlier}` before it: {why}"
        if kind in _CLOSED and StepKind.UNCORDON in seen:
            yield f"{where} comes after `uncordon`: guests may be there again"
        if kind in _ENDS and not step.when_wanted and drains_by_need(steps[:number]):
            yield f"{where} needs `when: wanted` as the drain before it has: else guests are still there"
        yield from (f"{where} {fault}" for fault in _figures(step))
        seen.add(kind)


_ONCE: Final = frozenset({StepKind.CORDON, StepKind.DRAIN, StepKind.UNCORDON, StepKind.RETURN})
_ENDS: Final = BY_BMC | {StepKind.REBOOT}
"""Guests that are there then end."""
_CLOSED: Final = _ENDS | {StepKind.CORDON, StepKind.DRAIN}
_NEEDS: Final[Mapping[StepKind, tuple[tuple[StepKind, str], ...]]] = {
    StepKind.DRAIN: ((StepKind.CORDON, "else guests come in while others leave"),),
    StepKind.REBOOT: ((StepKind.DRAIN, "else guests end with the host"),),
    StepKind.POWER_CYCLE: ((StepKind.DRAIN, "else guests end with the host"),),
    StepKind.FIRMWARE: ((StepKind.DRAIN, "else guests end with the host"),),
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
    if step.when_wanted and step.kind not in _BY_NEED:
        yield "cannot depend on whether a reboot is wanted"
    yield from _bmc_figures(step)


_BY_NEED: Final = frozenset({StepKind.DRAIN, StepKind.REBOOT, StepKind.POWER_CYCLE})


def _bmc_figures(step: Step) -> Iterator[str]:
    if not 0 <= step.graceful_s <= GRACEFUL_MOST_S:
        yield f"lets a host shut down within 0 to {GRACEFUL_MOST_S:g} s"
    if not 0 <= step.burn_s <= WITHIN_MOST_S or (step.burn_s and step.kind is not StepKind.VERIFY):
        yield "has a burn-in only where it is `verify`, and of a day at most"
    if step.burn_s and step.burn_s >= step.limit_s:
        yield f"may take {step.limit_s:g} s, which is no longer than its burn-in: say `within`"
    if step.kind is not StepKind.FIRMWARE:
        if step.image or step.file or step.sha256 or step.target or step.version:
            yield "brings no firmware"
        return
    url = urlsplit(step.image)
    if (step.image or not step.file) and (url.scheme not in SCHEMES or not url.hostname):
        yield f"needs the URL of an image, by {', '.join(SCHEMES)}, or a file; '{step.image[:80]}' is none"
    if step.sha256 and (not step.file or not SHA256.fullmatch(step.sha256)):
        yield "has a sha256 only beside a file, and of 64 digits of 0-9a-f"


def changes(procedure: Iterable[Step]) -> bool:
    """True where the agent must let the controller run commands or reboot the host."""
    return any(step.kind in BY_COMMAND for step in procedure)


def by_bmc(procedure: Iterable[Step]) -> tuple[Step, ...]:
    """Those that the host's BMC does."""
    return tuple(step for step in procedure if step.kind in BY_BMC)


def touches(procedure: Iterable[Step]) -> bool:
    """True where the host itself is changed, so that what it is has to be compared."""
    return any(step.kind in BY_COMMAND | BY_BMC for step in procedure)


def is_new_already(procedure: Iterable[Step], versions: Mapping[str, str]) -> bool:
    """True where firmware is all that is to be changed, and every part has what it shall have.

    versions: target -> what it has now.
    """
    steps = [step for step in procedure if step.kind in BY_COMMAND | BY_BMC | {StepKind.UPDATE}]
    flashes = [step for step in steps if step.kind is StepKind.FIRMWARE]
    if not flashes or any(step.kind not in BY_BMC for step in steps):
        return False
    return all(step.version and versions.get(step.target) == step.version for step in flashes)


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
