"""Plays a maintenance through before it begins: its batches, when it ends, and what is missing for it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from segue.model.fleet import Fleet
from segue.model.maintenance import Batch, Foreseen, HostState, HostWork, Order
from segue.model.plan import Plan
from segue.policy import maintenance, procedure
from segue.policy.maintenance import ALONE, Beside

BATCHES_MOST: Final = 10_000


def foresee(fleet: Fleet, order: Order, now_s: float, beside: Beside = ALONE) -> Foreseen:
    """What would be done if nothing else changed. Hosts of one batch count as begun and ended together.

    beside: what others do all the while; their moves count as its own.
    """
    works = {name: HostWork(name) for name in maintenance.hosts_of(fleet, order.scope)}
    fixed_s = procedure.fixed_s(order, works)
    begins_s = at_s = max(now_s, order.window.begins_s)
    batches: list[Batch] = []
    waits: dict[str, str] = {}
    while not maintenance.is_over(works) and len(batches) < BATCHES_MOST:
        made = maintenance.next_hosts(fleet, order, works, at_s, beside)
        if not made.begin:
            waits = dict(made.waits)
            break
        back_s = made.plan.total_s if procedure.returns(order.procedure) else 0.0
        ends_s = at_s + made.plan.total_s + fixed_s + back_s
        batches.append(_batch(made, at_s - begins_s, ends_s - begins_s))
        fleet = _after(fleet, order, made.plan)
        done = {name: HostWork(name, HostState.DONE, ended_s=ends_s) for name in made.begin}
        works = {**works, **done}
        at_s = ends_s + _bake_s(order, works, batches)
    ends_s = begins_s + max((batch.ends_s for batch in batches), default=0.0)
    missing = tuple(f"{name}: {why}" for name, why in waits.items())
    return Foreseen(tuple(batches), begins_s, ends_s, missing, tuple(_notes(batches)))


def _batch(made: maintenance.Next, begins_s: float, ends_s: float) -> Batch:
    moves = made.plan.moves
    longest_s = max((move.outlook.blackout_s for move in moves), default=0.0)
    twice = tuple(sorted(made.twice))
    guests = tuple(sorted({move.guest for move in moves}))
    return Batch(made.begin, begins_s, ends_s, len(moves), made.plan.total_s, longest_s, twice, guests)


def _after(fleet: Fleet, order: Order, plan: Plan) -> Fleet:
    """Where guests are when the batch is over: home again, or where they went."""
    if procedure.returns(order.procedure) and not order.scope.label:
        return fleet
    gone = {move.guest: move.target for move in plan.moves}
    guests = tuple(replace(guest, host=gone.get(guest.name, guest.host)) for guest in fleet.guests)
    return replace(fleet, guests=guests)


def _bake_s(order: Order, works: dict[str, HostWork], batches: list[Batch]) -> float:
    """After the last of those that come first."""
    begun = sum(len(batch.hosts) for batch in batches)
    is_last = begun - len(batches[-1].hosts) < order.strategy.canary <= begun
    return order.strategy.bake_s if is_last and begun < len(works) else 0.0


def _notes(batches: list[Batch]) -> Iterator[str]:
    twice = sorted({guest for batch in batches for guest in batch.twice})
    if twice:
        yield f"moved more than once, as there is no other room: {', '.join(twice)}"
