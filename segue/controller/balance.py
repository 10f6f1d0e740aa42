"""Levels the load: plans, and carries a plan out move by move, each as it was shown or not at all.

It must begin nothing while a drain needs the room, and book for every move what it was to bring and what it cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from segue.adapters import chance, clock
from segue.controller import absence, fleet, moving, works
from segue.controller.absence import Absence
from segue.controller.app import Controller
from segue.controller.mirror import Mirror
from segue.controller.work import Work, went_well
from segue.errors import Kind, Refused
from segue.model import store as nouns
from segue.model.balance import (
    DAY_S,
    BalanceOrders,
    BalanceState,
    BookedMove,
    Booking,
    Mode,
    PastMove,
    PlannedMove,
    Temper,
)
from segue.model.fleet import Fleet
from segue.model.migration import Limits, Migration
from segue.model.plan import BalancePlan, Move, Outlook
from segue.model.store import Change, Conflict, Fence
from segue.model.task import PARALLEL_MOST, Task, TaskKind, TaskState, Turn
from segue.policy import balance, following, lessons, reasons, temper
from segue.policy.board import Board
from segue.policy.drain import Orders
from segue.policy.imbalance import Imbalance
from segue.policy.outlook import Basis
from segue.policy.timetable import Slots

BALANCER: Final = "the balancer"
"""Who asks for a task that nobody asked for."""
KEPT: Final = 500
"""Bookings; older ones go."""
MOVES_MOST: Final = 400
"""In one plan: it is one entry of the store, with what is said of each."""
FORGONE: Final = "a drain needs the room"


@dataclass(frozen=True)
class Seen:
    """One look at the fleet, and what came of it."""

    fleet: Fleet
    plan: BalancePlan
    temper: Temper
    margin: float
    silent: tuple[str, ...]
    """Hosts that told no load: nothing is moved to them."""


async def look(controller: Controller, orders: BalanceOrders) -> Seen:
    """Plans by what is known now; in a thread, because a large fleet takes seconds."""
    controller.loads.demand()
    seen, silent = await told(controller)
    now_s, remembered = clock.wall_s(), remember(controller.mirror)
    basis = _orders(controller.mirror, orders).basis
    slots = Slots(per_source=orders.parallel, per_target=orders.parallel)
    made, after = await asyncio.to_thread(
        balance.plan, seen, remembered, now_s, orders.settings, basis, slots
    )
    return Seen(seen, made, after, temper.margin(remembered.bookings, orders.settings), silent)


def decided(mirror: Mirror) -> BalanceOrders:
    """What people decided; the defaults where nobody did."""
    kept = mirror.balance_orders.get("")
    return kept.value if kept else BalanceOrders()


def remember(mirror: Mirror) -> Temper:
    """What the balancer knows of before: its last look, moves of the last day whoever wanted them, its bookings."""
    kept, since_s = mirror.balance_state.get(""), clock.wall_s() - DAY_S
    state = kept.value if kept else BalanceState()
    past: dict[str, tuple[PastMove, ...]] = {}
    for record in mirror.migrations.items().values():
        ended = record.value
        if ended.ended and went_well(ended) and ended.ended_s > since_s:
            move = PastMove(ended.ended_s, ended.outcome.blackout_s)
            past[ended.guest] = (*past.get(ended.guest, ()), move)
    bookings = tuple(
        Booking(booked.guest, booked.source, booked.target, booked.planned, booked.realised)
        for booked in mirror.bookings.values()
    )
    return Temper(state.found, state.acting, past, bookings[-temper.BOOKINGS_KEPT :])


def draining(mirror: Mirror) -> bool:
    """True while some host is being emptied: the room is for its guests."""
    drains = any(task.kind is TaskKind.DRAIN and not task.ended for task in mirror.tasks.values())
    return drains or bool(works.emptied(mirror))


def under_way(mirror: Mirror) -> Task | None:
    """The balancing that has not ended; there is one at a time."""
    return next((t for t in mirror.tasks.values() if t.kind is TaskKind.BALANCE and not t.ended), None)


def demand_room(mirror: Mirror) -> None:
    """Raises Refused while others need the room."""
    if draining(mirror):
        raise not_now(FORGONE, "Wait until it has ended, or cancel it.")
    if now := under_way(mirror):
        raise not_now(f"task {now.id[:8]} is under way", f"Watch it: `segue task watch {now.id[:8]}`.")


def not_now(why: str, todo: str, kind: Kind = Kind.CONFLICT) -> Refused:
    """Nothing is begun."""
    return Refused(what="the load is not balanced", why=why, todo=todo, kind=kind)


async def begin(
    controller: Controller,
    by: str,
    number: str,
    seen: Seen,
    orders: BalanceOrders,
    *,
    digest: str = "",
    fence: Fence | None = None,
) -> Task:
    """A task with this very plan; the one that there is where it was asked for before. Raises Refused where a drain, or
    another balancing, was begun since the fleet was looked at: that may take seconds."""
    wish = {
        "moves": msgspec.to_builtins(balance.listed(seen.plan.plan)),
        "limits": msgspec.to_builtins(Limits(blackout_s=orders.blackout_s)),
        "parallel": orders.parallel,
        "force": False,
        "before": seen.plan.before,
    }
    number = number or chance.new_id()
    going = {move.guest for move in seen.plan.plan.moves}
    staying = reasons.kept(
        {guest: why for guest, why in seen.plan.plan.staying.items() if guest not in going}
    )
    made = Task(
        number, TaskKind.BALANCE, by, clock.wall_s(), wish, digest, staying=staying, total=len(wish["moves"])
    )
    books, mirror = controller.books, controller.mirror
    if number not in mirror.tasks.items():
        demand_room(mirror)
    try:
        await books.add(mirror.tasks, number, made, _taken(mirror, number), fence=fence)
    except Conflict as conflict:
        await mirror.reached(conflict.current.revision if conflict.current else 0)
        if number not in mirror.tasks.items():
            raise not_now(
                "another one was begun in the same moment", "Look with `segue task list`."
            ) from None
        return books.known(mirror.tasks, number).value
    return made


def _taken(mirror: Mirror, number: str) -> Change:
    """Its turn: whoever began another one since this look finds its own taken."""
    turns, mine = mirror.balance_turn, msgspec.json.encode(Turn(number))
    kept = turns.get("")
    return nouns.replace(kept.entry, mine) if kept else nouns.create(turns.key(""), mine)


async def carry_out(work: Work) -> None:
    """Until every move of the plan was made, or is off."""
    moves = msgspec.convert(work.task.wish["moves"], tuple[PlannedMove, ...])
    away = Absence(work.controller.mirror)
    await moving.until_ended(work, lambda _, beginning: _next(work, moves, beginning, away))


async def _next(
    work: Work, moves: tuple[PlannedMove, ...], beginning: moving.Beginning, away: Absence
) -> None:
    await _book(work, moves)
    seen, _ = await told(work.controller)
    task, mirror, busy = work.task, work.controller.mirror, moving.busy(work, beginning)
    away.look()
    unheard = absence.unheard(work, away.gone())
    if task.state is TaskState.CANCELLING:
        await moving.stop(work, busy - unheard.keys())
        return
    if task.state is TaskState.PAUSED:
        return
    orders, off = decided(mirror), _failed(task) | unheard
    seen = moving.adjusted(seen, {trial.guest: trial for trial in task.trials})
    left = [move for move in moves if move.guest not in {*task.moved, *task.staying, *off, *busy}]
    if left and (reason := _forgone(mirror, task)):
        off |= {move.guest: reason for move in left}
        left = []
    going = [move for move in moves if move.guest in busy]
    found = following.sort_out(seen, left, going, orders.settings.weights)
    off |= found.off
    if off:
        await work.save(lambda now: replace(now, staying={**now.staying, **off}))
    admitted = moving.admitted(_as_moves(found.ready), seen, _orders(mirror, orders))
    await moving.begin(work, [(job.guest, job.target) for job in admitted], beginning)
    if busy <= unheard.keys() and all(move.guest in off for move in left):
        await _conclude(work, seen, orders)


def _failed(task: Task) -> dict[str, str]:
    """A move that failed is not tried again: the next plan knows more than this one."""
    tried = {trial.guest: trial for trial in task.trials if trial.failures}
    return {guest: trial.why for guest, trial in tried.items() if guest not in task.staying}


def _forgone(mirror: Mirror, task: Task) -> str:
    """Why nothing more may be begun; empty where it may."""
    if draining(mirror):
        return FORGONE
    mode = decided(mirror).mode
    return f"the balancer's mode is {mode}" if task.by == BALANCER and mode is not Mode.AUTO else ""


async def _conclude(work: Work, seen: Fleet, orders: BalanceOrders) -> None:
    task = work.task
    after = score(seen, orders)
    note = f"{len(task.moved)} guests moved, imbalance {float(task.wish['before']):.3f}, then {after:.3f}"
    state = TaskState.PARTIAL if task.staying else TaskState.DONE
    await work.end(state, note if not task.staying else f"{note}; {len(task.staying)} stay")


def score(seen: Fleet, orders: BalanceOrders) -> float:
    """The imbalance as it is."""
    return Imbalance(Board(seen), orders.settings.weights).score()


async def _book(work: Work, moves: Iterable[PlannedMove]) -> None:
    """One booking for each move that was made; its key follows from the move, so it is booked once, whoever leads."""
    task, table = work.task, work.controller.mirror.bookings
    for move in moves:
        record = _made(work, move) if move.guest in task.moved else None
        if record is None:
            continue
        key = f"{int(record.ended_s * 1e3):015d}-{task.id[:8]}-{move.guest}"
        if table.get(key) is None:
            outcome = record.outcome
            booked = BookedMove(
                task.id, move.guest, move.source, move.target, move.planned, move.cost, move.why,
                record.ended_s, outcome.blackout_s, outcome.total_s,
            )  # fmt: skip
            await work.add(table, key, booked)


def _made(work: Work, move: PlannedMove) -> Migration | None:
    """The last migration that did what the move says."""
    way = (move.guest, move.source, move.target)
    every = work.controller.mirror.migrations.values()
    done = [m for m in every if (m.guest, m.source, m.target) == way and went_well(m)]
    return max(done, key=lambda m: m.ended_s, default=None)


async def told(controller: Controller) -> tuple[Fleet, tuple[str, ...]]:
    """(the fleet, hosts that told no load). Those take nothing in here: nobody knows what they carry."""
    seen = await fleet.looked(controller.mirror, controller.loads)
    silent = {
        host.name for host in seen.hosts if not host.cordoned and controller.loads.host(host.name) is None
    }
    hosts = tuple(replace(host, cordoned=host.cordoned or host.name in silent) for host in seen.hosts)
    return replace(seen, hosts=hosts), tuple(sorted(silent))


def _as_moves(ready: Iterable[PlannedMove]) -> list[Move]:
    """Only who goes where counts for what may begin; the outlook is made anew."""
    return [Move(m.guest, m.source, m.target, Outlook(0.0, 0.0, 0), m.why) for m in ready]


def _orders(mirror: Mirror, orders: BalanceOrders) -> Orders:
    records = [kept.value for kept in mirror.migrations.items().values()]
    basis = Basis(Limits(blackout_s=orders.blackout_s), lessons.learn(records, ""))
    return Orders(Slots(per_source=orders.parallel, per_target=orders.parallel), basis)


def with_changes(known: BalanceOrders, changes: Mapping[str, Any]) -> BalanceOrders:
    """changes: keys of the orders, of their settings and of the budget; what is None stays."""
    given = {key: value for key, value in changes.items() if value is not None}

    def chosen(shape: Any) -> dict[str, Any]:
        return {key: value for key, value in given.items() if key in shape.__dataclass_fields__}

    budget = replace(known.settings.budget, **chosen(known.settings.budget))
    settings = replace(known.settings, **{**chosen(known.settings), "budget": budget})
    return replace(known, **{**chosen(known), "settings": settings})


def demand_sense(orders: BalanceOrders) -> None:
    """Raises Refused for what nobody can mean."""
    chosen = orders.settings
    right = {
        "start_at and stop_at": 0 <= chosen.stop_at <= chosen.start_at <= 10,
        "hot_share": 0 < chosen.hot_share <= 64,
        "looks": 1 <= chosen.looks <= 1000,
        "margin": 0 <= chosen.margin <= 100,
        "moves_most": 1 <= chosen.moves_most <= MOVES_MOST,
        "cooldown_s": 0 <= chosen.cooldown_s <= DAY_S,
        "cpu_load_most": 0 < chosen.cpu_load_most <= 64,
        "moves_per_day": 0 <= chosen.budget.moves_per_day <= 1000,
        "blackout_s_per_day": 0 <= chosen.budget.blackout_s_per_day <= DAY_S,
        "parallel": 1 <= orders.parallel <= PARALLEL_MOST,
        "blackout_s": 0 < orders.blackout_s <= 3600,
        "look_s": 1 <= orders.look_s <= DAY_S,
        "realise_after_s": 0 <= orders.realise_after_s <= DAY_S,
    }
    if wrong := [what for what, is_right in right.items() if not is_right]:
        raise Refused(
            what="the balancer is not changed",
            why=f"it cannot work with this: {', '.join(wrong)}",
            todo="docs/reference/balance.md says what each may be.",
            kind=Kind.USAGE,
        )
