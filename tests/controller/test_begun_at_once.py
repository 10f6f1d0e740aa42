"""Work that is asked for twice in the same moment: the store lets one begin, whichever controllers are asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, cast

import pytest

from segue.adapters import clock
from segue.adapters.metrics import Meter
from segue.controller import balance, maintenance
from segue.controller.app import Controller
from segue.controller.balance import Seen
from segue.controller.books import Books
from segue.controller.limits import Limits
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.controller.traces import Traces
from segue.controller.work import Work
from segue.model import store as nouns
from segue.model.balance import BalanceOrders, Temper
from segue.model.fleet import Fleet
from segue.model.leadership import Tenure
from segue.model.maintenance import Maintenance, Order, Scope, Step, StepKind
from segue.model.metrics import CONTROLLER
from segue.model.plan import BalancePlan, Plan
from segue.model.store import Fence, Lease
from segue.model.task import Task, TaskKind, TaskState
from segue.sim.loop import VirtualLoop
from segue.sim.store import MemoryStore, Shelf
from segue.sim.world import NodeClock

SEEN = Seen(Fleet(()), BalancePlan(Plan(()), 0.4, 0.1), Temper(), 1.5, ())


def controller(shelf: Shelf, name: str) -> Controller:
    store = MemoryStore(shelf)
    mirror, nothing = Mirror(store), cast(Any, None)
    return Controller(
        name=name, store=store, mirror=mirror, books=Books(store, mirror), links=nothing, loads=Loads(),
        candidate=nothing, authority=nothing, ca_pem=b"", own=nothing, bars=nothing, limits=Limits(),
        certificate_s=0.0, meter=Meter(CONTROLLER), traces=Traces(None),
    )  # fmt: skip


async def _stop(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def ended(one: Controller, number: str) -> None:
    def over(task: Task) -> Task:
        return replace(task, state=TaskState.DONE, ended_s=1.0)

    await one.books.change(one.mirror.tasks, number, over)


def outcome(came: list[Any]) -> list[str]:
    return sorted(type(each).__name__ for each in came)


@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("at", [("c1", "c1", "c1"), ("c1", "c2", "c1")], ids=["one", "two controllers"])
def test_of_balances_that_are_asked_for_at_once_one_begins(at: tuple[str, ...], before: int) -> None:
    loop = VirtualLoop()

    async def main() -> tuple[list[str], int]:
        clock.give(NodeClock(loop))
        shelf = Shelf(loop)
        all_of = {name: controller(shelf, name) for name in ("c1", "c2")}
        follows = [asyncio.create_task(one.mirror.follow()) for one in all_of.values()]
        for number in range(before):
            made = await balance.begin(all_of["c2"], "ann", f"old{number}", SEEN, BalanceOrders())
            await ended(all_of["c2"], made.id)
        for one in all_of.values():
            await one.mirror.reached(shelf.revision)
        asked = [balance.begin(all_of[name], "ann", "", SEEN, BalanceOrders()) for name in at]
        came = outcome(await asyncio.gather(*asked, return_exceptions=True))
        first = all_of["c1"].mirror
        begun = [task.id for task in first.tasks.values() if not task.ended]
        for number_ in begun:
            await ended(all_of["c2"], number_)
        await first.reached(shelf.revision)
        await balance.begin(all_of["c1"], "ann", "", SEEN, BalanceOrders())  # The one before is over.
        await _stop(*follows)
        return came, len(begun)

    assert loop.run(main()) == (["Refused"] * (len(at) - 1) + ["Task"], 1)


def test_one_that_is_asked_for_twice_is_one_task() -> None:
    loop = VirtualLoop()

    async def main() -> list[str]:
        clock.give(NodeClock(loop))
        one = controller(Shelf(loop), "c1")
        follow = asyncio.create_task(one.mirror.follow())
        twice = (balance.begin(one, "ann", "n1", SEEN, BalanceOrders()) for _ in range(2))
        came = await asyncio.gather(*twice)
        await _stop(follow)
        return [task.id for task in came]

    assert loop.run(main()) == ["n1", "n1"]


def test_of_two_tasks_of_one_maintenance_one_carries_it_out() -> None:
    loop = VirtualLoop()

    async def main() -> list[str]:
        clock.give(NodeClock(loop))
        one = controller(Shelf(loop), "c1")
        follow = asyncio.create_task(one.mirror.follow())
        fence = Fence("leader", await one.store.commit(nouns.create("leader", b'{"name": "c1"}')))
        order = Order("kernels", Scope(), (Step(StepKind.REBOOT),))
        planned = Maintenance(order, "ann", 0.0, hosts=("h1",))
        await one.books.add(one.mirror.maintenances, "kernels", planned)
        works = []
        for number in ("t1", "t2"):
            made = Task(number, TaskKind.MAINTENANCE, "ann", 0.0, {"maintenance": "kernels"})
            await one.books.add(one.mirror.tasks, number, made)
            works.append(Work(one, Tenure("c1", 1, fence, Lease(1, 5.0), 0.0), number))
        came = await asyncio.gather(*map(maintenance._begun, works), return_exceptions=True)
        await _stop(follow)
        return outcome(came)

    assert loop.run(main()) == ["Maintenance", "Refused"]
