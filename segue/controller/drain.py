"""Carries a drain out: looks at the fleet, plans, begins what is admitted, and looks again until hosts are empty.

It keeps nothing but the task in the store, so whoever leads next goes on. It must never begin a guest's move twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import structlog

from segue.adapters import clock
from segue.controller import fleet
from segue.controller.mirror import Mirror
from segue.controller.work import LOOK_S, Work, went_well, why
from segue.errors import SegueError
from segue.model.fleet import Fleet, FleetGuest
from segue.model.plan import Plan
from segue.model.task import Task, TaskState, Trial
from segue.policy import drain, outlook, timetable
from segue.policy.drain import Orders
from segue.policy.outlook import Basis
from segue.policy.timetable import Job, Roads, Slots

log = structlog.get_logger()

FAILURES_MOST: Final = 3
"""Then the guest stays, and the drain goes on without it."""
RETRY_S: Final = 5.0
REST_S_PER_GUEST: Final = 3e-5
"""Between two looks at the fleet, so that a large one does not have its leader plan all the time: for 100,000 guests
a plan takes about 3 s, and each report of a move would ask for another."""


@dataclass(frozen=True)
class DrainWish:
    """Body of POST /v1/drains. Either hosts, or a label with its value."""

    hosts: tuple[str, ...] = ()
    label: str = ""
    value: str = ""
    parallel: int = 4
    """Moves at once from each host, and to each host."""
    limits: dict[str, Any] = field(default_factory=dict)
    force: bool = False


def hosts_of(mirror: Mirror, wish: DrainWish) -> tuple[str, ...]:
    """The hosts that are to be empty. Raises Refused where there are none."""
    return wish.hosts or drain.hosts_of(fleet.seen(mirror), wish.label, wish.value)


def plan(mirror: Mirror, hosts: tuple[str, ...], parallel: int) -> Plan:
    """What would be done now."""
    return drain.plan(fleet.seen(mirror), hosts, _orders(parallel))


async def carry_out(work: Work) -> None:
    """Until the hosts are empty, or what is left cannot go."""
    hosts = tuple(str(host) for host in work.task.wish["hosts"])
    for host in hosts:
        await _cordon(work, host)
    await work.save(lambda task: replace(task, state=_begun(task.state)))
    begin: dict[str, asyncio.Task[None]] = {}
    try:
        while not work.task.ended:
            await _settle(work, set(begin))
            await _next(work, hosts, begin)
            for guest in [guest for guest, task in begin.items() if task.done()]:
                begin.pop(guest).result()
            await work.controller.mirror.change(LOOK_S)
            await asyncio.sleep(REST_S_PER_GUEST * len(work.controller.mirror.guests.items()))
    finally:
        for task in begin.values():
            task.cancel()


async def _next(work: Work, hosts: tuple[str, ...], begin: dict[str, asyncio.Task[None]]) -> None:
    task, mirror = work.task, work.controller.mirror
    busy = {trial.guest for trial in task.trials if trial.target} | set(begin)
    if task.state is TaskState.CANCELLING:
        await _stop(work, busy)
        return
    if task.state is TaskState.PAUSED:
        return
    trials = {trial.guest: trial for trial in task.trials}
    seen = _adjusted(fleet.seen(mirror, {g: t.not_to for g, t in trials.items()}), trials)
    orders = _orders(int(task.wish["parallel"]))
    made = drain.plan(seen, hosts, orders)
    admitted = _admitted(made, seen, orders)
    made = replace(made, staying=_reasons(made.staying, trials))
    await _report(work, made)
    if admitted:
        for job in admitted:
            await _intend(work, job.guest, job.target)
            begin[job.guest] = asyncio.create_task(_begin(work, job.guest, job.target))
    elif not busy and not made.moves and not _moving(seen, hosts) and not _retrying(trials):
        await _conclude(work, hosts, made)


async def _settle(work: Work, beginning: set[str]) -> None:
    """What became of the moves that were begun."""
    task, mirror = work.task, work.controller.mirror
    now_s, trials, moved = clock.wall_s(), dict[str, Trial](), list(task.moved)
    for trial in task.trials:
        trials[trial.guest] = trial
        if not trial.target or trial.guest in beginning:
            continue
        number = trial.migration or getattr(work.begun_since(trial.guest, task.created_s), "id", "")
        kept = mirror.migrations.get(number) if number else None
        if not number:
            trials[trial.guest] = replace(
                trial, target=""
            )  # It was meant to be begun by a leader that is gone.
        elif kept is not None and kept.value.ended and went_well(kept.value):
            moved.append(trial.guest)
            del trials[trial.guest]
        elif kept is not None and kept.value.ended:
            trials[trial.guest] = _failed(trial, why(kept.value), now_s)
        else:
            trials[trial.guest] = replace(trial, migration=number)
    settled = tuple(trials.values())
    if settled != task.trials or tuple(moved) != task.moved:
        # Only what we looked at is replaced: a move that is just being begun writes its own.
        await work.save(
            lambda now: replace(now, trials=_merged(now.trials, task.trials, trials), moved=tuple(moved))
        )


def _merged(
    now: tuple[Trial, ...], looked_at: tuple[Trial, ...], settled: Mapping[str, Trial]
) -> tuple[Trial, ...]:
    unchanged = {trial.guest: trial for trial in looked_at}
    kept = []
    for trial in now:
        if unchanged.get(trial.guest) != trial:
            kept.append(trial)
        elif trial.guest in settled:
            kept.append(settled[trial.guest])
    return tuple(kept)


async def _intend(work: Work, guest: str, target: str) -> None:
    """Noted before it is done: from here on no plan has the guest, and another leader knows what to look for."""
    await _try(work, guest, lambda trial: replace(trial, target=target, migration=""))


async def _begin(work: Work, guest: str, target: str) -> None:
    """Does what was noted, and notes what came of it."""
    task = work.task
    try:
        number = await work.begin_move(
            guest, target, dict(task.wish["limits"]), force=bool(task.wish["force"])
        )
    except SegueError as error:
        reason, now_s = f"{error.what}: {error.why}", clock.wall_s()
        log.info("a move of a drain was refused", guest=guest, target=target, why=error.why)
        await _try(work, guest, lambda trial: _failed(trial, reason, now_s))
        return
    await _try(work, guest, lambda trial: replace(trial, migration=number))


async def _try(work: Work, guest: str, decide: Any) -> None:
    def changed(task: Task) -> Task:
        known = {trial.guest: trial for trial in task.trials}
        known[guest] = decide(known.get(guest, Trial(guest)))
        return replace(task, trials=tuple(known.values()))

    await work.save(changed)


def _failed(trial: Trial, reason: str, now_s: float) -> Trial:
    """Another target is tried next; the one that failed may be well again later, but not for this guest now."""
    failures = trial.failures + 1
    not_to = (*trial.not_to, trial.target)
    return Trial(trial.guest, "", "", failures, not_to, reason[:300], now_s + RETRY_S * failures)


async def _stop(work: Work, busy: set[str]) -> None:
    """Takes back what can be, and waits for the rest."""
    moving = fleet.under_way(work.controller.mirror)
    numbers = {trial.migration for trial in work.task.trials}
    for guest in busy:
        if guest in moving and moving[guest].id in numbers and moving[guest].stage == "preparation":
            await work.take_back(moving[guest])
    if not busy:
        await work.end(TaskState.CANCELLED, f"cancelled; {len(work.task.moved)} guests were moved")


def _adjusted(seen: Fleet, trials: Mapping[str, Trial]) -> Fleet:
    """Guests that are being moved, wait after a failure, or failed too often, as planners take them."""
    now_s = clock.wall_s()

    def as_planned(guest: FleetGuest) -> FleetGuest:
        trial = trials.get(guest.name)
        if trial is None or guest.moving_to:
            return guest
        if trial.target:
            return replace(guest, moving_to=trial.target)
        if trial.failures >= FAILURES_MOST:
            return replace(guest, pinned=f"{trial.failures} moves of it failed, the last one: {trial.why}")
        return replace(guest, pinned=f"tried again soon: {trial.why}") if trial.retry_s > now_s else guest

    return replace(seen, guests=tuple(as_planned(guest) for guest in seen.guests))


def _admitted(made: Plan, seen: Fleet, orders: Orders) -> tuple[Job, ...]:
    """Moves of the first wave that may begin beside those that are under way."""
    roads, hosts = Roads(seen, orders.slots), {host.name: host for host in seen.hosts}
    guests = {guest.name: guest for guest in seen.guests}

    def job(name: str, source: str, target: str) -> Job:
        foreseen = outlook.of_move(guests[name], hosts[source], hosts[target], orders.basis)
        return roads.job(guests[name], source, target, foreseen, orders.basis)

    running = [
        job(guest.name, guest.host, guest.moving_to)
        for guest in seen.guests
        if guest.moving_to in hosts and guest.host in hosts and guest.host != guest.moving_to
    ]
    first = made.waves[0].moves if made.waves else ()
    return timetable.admit([job(move.guest, move.source, move.target) for move in first], running, roads)


async def _report(work: Work, made: Plan) -> None:
    task = work.task
    total = len(task.moved) + len(made.moves) + sum(1 for trial in task.trials if trial.target)
    if (total, dict(task.staying)) != (task.total, dict(made.staying)):
        await work.note(total=total, staying=dict(made.staying))


async def _conclude(work: Work, hosts: tuple[str, ...], made: Plan) -> None:
    moved = len(work.task.moved)
    names = ", ".join(hosts)
    if made.staying:
        note = f"{moved} guests moved, {len(made.staying)} stay on {names}"
        await work.end(TaskState.PARTIAL, note, staying=dict(made.staying))
    else:
        await work.end(TaskState.DONE, f"{names}: empty; {moved} guests moved", staying={})


def _reasons(staying: Mapping[str, str], trials: Mapping[str, Trial]) -> dict[str, str]:
    """Why the planner leaves a guest out, and, where moves of it failed, what happened to the last one."""
    told = dict(staying)
    for guest in told.keys() & trials.keys():
        trial = trials[guest]
        if trial.why and trial.why not in told[guest]:
            told[guest] = f"its last move failed: {trial.why}; now: {told[guest]}"
    return told


def _moving(seen: Fleet, hosts: tuple[str, ...]) -> bool:
    return any(guest.moving_to and guest.host in hosts for guest in seen.guests)


def _retrying(trials: Mapping[str, Trial]) -> bool:
    return any(
        0 < trial.failures < FAILURES_MOST and trial.retry_s > clock.wall_s() for trial in trials.values()
    )


async def _cordon(work: Work, host: str) -> None:
    books, hosts = work.controller.books, work.controller.mirror.hosts
    await books.change(hosts, host, lambda known: replace(known, cordoned=True), fence=work.tenure.fence)


def _orders(parallel: int) -> Orders:
    return Orders(Slots(per_source=parallel, per_target=parallel), Basis())


def _begun(state: TaskState) -> TaskState:
    return TaskState.RUNNING if state is TaskState.WAITING else state
