"""Carries a drain out: looks at the fleet, plans, begins what is admitted, and looks again until hosts are empty.

It keeps nothing but the task in the store, so whoever leads next goes on. It must never begin a guest's move twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from segue.adapters import clock
from segue.controller import absence, fleet, moving
from segue.controller.absence import Absence
from segue.controller.app import Controller
from segue.controller.work import Work, went_well
from segue.errors import Kind, Refused
from segue.model.migration import Limits
from segue.model.plan import Plan
from segue.model.task import TaskState, Trial
from segue.policy import drain, reasons
from segue.policy.drain import Orders
from segue.policy.outlook import Basis
from segue.policy.timetable import Slots

ARRIVES_S: Final = 30.0
"""By then both hosts of a move have told of it; a guest that nobody shows after that was deleted."""


@dataclass(frozen=True)
class DrainWish:
    """Body of POST /v1/drains. Either hosts, or a label with its value."""

    hosts: tuple[str, ...] = ()
    label: str = ""
    value: str = ""
    parallel: int = 4
    """Moves at once from each host, and to each host."""
    limits: Limits = field(default_factory=Limits)
    force: bool = False


async def hosts_of(controller: Controller, wish: DrainWish) -> tuple[str, ...]:
    """The hosts that are to be empty. Raises Refused where there are none, or it is not clear which."""
    if wish.hosts and (wish.label or wish.value):
        raise Refused(
            what="nothing is drained",
            why="hosts are named, and a domain beside them",
            todo="Name hosts, or a label with its value.",
            kind=Kind.USAGE,
        )
    if wish.hosts:
        return wish.hosts
    return drain.hosts_of(await fleet.looked(controller.mirror, controller.loads), wish.label, wish.value)


async def plan(controller: Controller, hosts: tuple[str, ...], parallel: int) -> Plan:
    """What would be done now."""
    seen = await fleet.looked(controller.mirror, controller.loads)
    return await asyncio.to_thread(drain.plan, seen, hosts, _orders(parallel))


async def carry_out(work: Work) -> None:
    """Until the hosts are empty, or what is left cannot go."""
    hosts = tuple(str(host) for host in work.task.wish["hosts"])
    for host in hosts:
        await _cordon(work, host)
    away = Absence(work.controller.mirror)
    await moving.until_ended(work, lambda _, beginning: _next(work, hosts, beginning, away))


async def _next(work: Work, hosts: tuple[str, ...], beginning: moving.Beginning, away: Absence) -> None:
    task = work.task
    away.look()
    unheard = absence.unheard(work, away.gone(), hosts)
    busy = moving.busy(work, beginning) - unheard.keys()
    if task.state is TaskState.CANCELLING:
        await moving.stop(work, busy)
        return
    if task.state is TaskState.PAUSED:
        return
    trials, not_to = _tried(work)
    looked = await fleet.looked(work.controller.mirror, work.controller.loads, not_to)
    seen, orders = moving.adjusted(looked, trials), _orders(int(task.wish["parallel"]))
    made = await asyncio.to_thread(drain.plan, seen, hosts, orders)
    admitted = moving.admitted(made.waves[0].moves if made.waves else (), seen, orders)
    made = replace(made, staying=told_reasons(made.staying, trials) | unheard)
    await _report(work, made)
    if admitted:
        await moving.begin(work, [(job.guest, job.target) for job in admitted], beginning)
    elif busy or made.moves or (made.staying and away.may_pass()):
        return
    elif _still(work, hosts, made, orders, away.gone()):
        await _conclude(work, hosts, made)


def _tried(work: Work) -> tuple[dict[str, Trial], dict[str, tuple[str, ...]]]:
    """(guest -> what became of its moves, guest -> hosts that it is not sent to any more)."""
    trials = {trial.guest: trial for trial in work.task.trials}
    return trials, {guest: trial.not_to for guest, trial in trials.items()}


def _still(work: Work, hosts: tuple[str, ...], made: Plan, orders: Orders, gone: Collection[str]) -> bool:
    """True where what is known now says the same: the plan is as old as it took to make. Once more, and not in a
    thread, so that nothing changes meanwhile."""
    trials, not_to = _tried(work)
    if retrying(trials) or among(work, hosts, gone) or arriving(work, hosts):
        return False
    seen = fleet.seen(work.controller.mirror, not_to, work.controller.loads)
    fresh = drain.plan(moving.adjusted(seen, trials), hosts, orders)
    unheard = absence.unheard(work, gone, hosts)
    return not fresh.moves and fresh.staying.keys() | unheard.keys() == made.staying.keys()


async def _report(work: Work, made: Plan) -> None:
    task = work.task
    total = len(task.moved) + len(made.moves) + sum(1 for trial in task.trials if trial.target)
    staying = reasons.kept(made.staying)
    if (total, dict(task.staying)) != (task.total, staying):
        await work.note(total=total, staying=staying)


async def _conclude(work: Work, hosts: tuple[str, ...], made: Plan) -> None:
    moved = len(work.task.moved)
    names = ", ".join(hosts)
    if made.staying:
        note = f"{moved} guests moved, {len(made.staying)} stay on {names}"
        await work.end(TaskState.PARTIAL, note, staying=reasons.kept(made.staying))
    else:
        await work.end(TaskState.DONE, f"{names}: empty; {moved} guests moved", staying={})


def told_reasons(staying: Mapping[str, str], trials: Mapping[str, Trial]) -> dict[str, str]:
    """Why the planner leaves a guest out, and, where moves of it failed, what happened to the last one."""
    told = dict(staying)
    for guest in told.keys() & trials.keys():
        trial = trials[guest]
        if trial.why and trial.why not in told[guest]:
            told[guest] = f"its last move failed: {trial.why}; now: {told[guest]}"
    return told


def among(work: Work, hosts: tuple[str, ...], gone: Collection[str]) -> bool:
    """Away from them, or to one of them, begun before it was cordoned: that guest has to leave it again. gone: hosts
    that are not waited for any more."""
    moves = fleet.under_way(work.controller.mirror).values()
    return any({m.source, m.target} & set(hosts) for m in moves if m.source not in gone)


def arriving(work: Work, hosts: tuple[str, ...]) -> bool:
    """Gone to one of them by its source's word, and not shown by that host yet."""
    known, now_s = fleet.owners(work.controller.mirror), clock.wall_s()
    return any(
        m.target in hosts and m.guest not in known and went_well(m) and abs(now_s - m.ended_s) < ARRIVES_S
        for m in work.controller.mirror.migrations.values()
    )


def retrying(trials: Mapping[str, Trial]) -> bool:
    return any(
        0 < trial.failures < moving.FAILURES_MOST and moving.waits(trial, clock.wall_s())
        for trial in trials.values()
    )


async def _cordon(work: Work, host: str) -> None:
    books, hosts = work.controller.books, work.controller.mirror.hosts
    await books.change(hosts, host, lambda known: replace(known, cordoned=True), fence=work.tenure.fence)


def _orders(parallel: int) -> Orders:
    return Orders(Slots(per_source=parallel, per_target=parallel), Basis())
