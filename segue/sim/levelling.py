"""What people ask of the balancer in a rehearsal, and what must be so of what it did: by the store, not by its word."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import combinations
from typing import TYPE_CHECKING, Final

import msgspec

from segue.controller import api_balance
from segue.controller.api_balance import BalanceWish
from segue.controller.app import Controller
from segue.errors import Kind, Refused
from segue.model.balance import MENDS, BalanceOrders, BalanceSettings, Mode, PlannedMove
from segue.model.task import Task, TaskKind, TaskState
from segue.sim import checkers as checking

if TYPE_CHECKING:
    from segue.sim.world import World

ORDERS: Final = BalanceOrders(
    mode=Mode.AUTO, settings=BalanceSettings(looks=1), look_s=5.0, realise_after_s=20.0
)
"""As people order it who see the load change by the minute."""
SEEN_S: Final = 1.0
"""What another wrote is seen within this time."""


async def switch_on(program: Controller) -> bool:
    """`segue balance auto`, at whichever controller; asked again where it is not clear what came of it."""
    table = program.mirror.balance_orders
    if table.get("") is None:
        await program.books.add(table, "", ORDERS)
    return True


async def apply(world: World, program: Controller, number: str) -> bool:
    """`segue balance apply`, at the controller that leads; what it refuses is said, and is an answer."""
    try:
        await api_balance.begun(program, "people", number, BalanceWish())
    except Refused as error:
        if error.kind is Kind.UNREACHABLE:
            raise
        world.say("people", f"nothing is balanced: {error.why}")
    return True


def check(world: World, tasks: Iterable[Task]) -> None:
    """Once all is quiet."""
    every = list(tasks)
    made = sorted((t for t in every if t.kind is TaskKind.BALANCE), key=lambda t: t.created_s)
    drains = [task for task in every if task.kind is TaskKind.DRAIN]
    for task in made:
        if task.state is TaskState.PARTIAL and not (task.staying and all(task.staying.values())):
            world.broken(checking.LEVEL, f"balance {task.id[:8]} is partial and says no reason")
        for drain in drains:
            if drain.created_s + SEEN_S < task.created_s < _end_s(drain):
                world.broken(checking.LEVEL, f"balance {task.id[:8]} began while a drain was under way")
        world.say("people", f"balance {task.id[:8]} is {task.state}: {task.note}")
    for one, next_ in combinations(made, 2):
        if next_.created_s < _end_s(one):
            world.broken(checking.LEVEL, f"balances {one.id[:8]} and {next_.id[:8]} at once")
        soon = next_.created_s - _end_s(one) < ORDERS.settings.cooldown_s
        if soon and (again := _levelled(one) & _levelled(next_)):
            world.broken(checking.LEVEL, f"{', '.join(sorted(again))} moved twice within the cooldown")


def _levelled(task: Task) -> set[str]:
    """Guests that it moved, but for those that were where they must not be."""
    moves = msgspec.convert(task.wish["moves"], tuple[PlannedMove, ...])
    return {move.guest for move in moves if not move.why.startswith(MENDS)} & set(task.moved)


def _end_s(task: Task) -> float:
    return task.ended_s or math.inf
