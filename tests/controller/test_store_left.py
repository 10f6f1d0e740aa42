"""From a store that was migrated away, or is half filled, no controller leads, and none writes a decision to it."""

from __future__ import annotations

import asyncio

import pytest

from segue.adapters import clock
from segue.controller import api, executor
from segue.controller.app import Controller
from segue.engine import transfer
from segue.errors import Kind, Refused
from segue.model import store as nouns
from segue.model.leadership import EPOCH
from segue.model.roster import HostRecord
from segue.sim.loop import VirtualLoop
from segue.sim.store import Shelf
from segue.sim.world import NodeClock
from tests.controller.in_memory import controller, stop


async def leader(one: Controller, within_s: float) -> str:
    """Who leads; empty where nobody has for all of that time."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + within_s
    while loop.time() < until_s:
        if (kept := one.mirror.leader.get("")) is not None:
            return kept.value.name
        await one.mirror.change(0.5)
    return ""


@pytest.mark.parametrize(
    ("mark", "why"),
    [(transfer.MOVED, "migrated to sqlite:///new"), (transfer.UNFINISHED, "not finished")],
    ids=["moved", "half filled"],
)
@pytest.mark.parametrize("early", [True, False], ids=["before it starts", "while it leads"])
def test_nobody_leads_from_a_store_that_was_left(mark: str, why: str, early: bool) -> None:
    loop = VirtualLoop()

    async def main() -> None:
        clock.give(NodeClock(loop))
        shelf = Shelf(loop)
        one = controller(shelf, "c1")
        left = nouns.create(mark, b"sqlite:///new")
        if early:
            await one.store.commit(left)
        tasks = asyncio.create_task(one.mirror.follow()), asyncio.create_task(executor.lead(one))
        if not early:
            assert await leader(one, 5.0) == "c1"
            await one.store.commit(left)
        await asyncio.sleep(10.0)  # Of virtual time: a seat that it took before it knew is free by now.
        epoch = shelf.entries[EPOCH].value if EPOCH in shelf.entries else b""
        assert await leader(one, 60.0) == ""
        assert (shelf.entries[EPOCH].value if EPOCH in shelf.entries else b"") == epoch, (
            "it does not stand again"
        )
        with pytest.raises(Refused, match=why) as error:
            await one.books.add(one.mirror.hosts, "h1", HostRecord("h1"))
        assert error.value.kind is Kind.UNREACHABLE, "the next controller of the context is asked"
        assert any(why in said for said in api._left(one))
        await one.store.commit(nouns.delete(shelf.entries[mark]))
        assert await leader(one, 10.0) == "c1"
        await one.books.add(one.mirror.hosts, "h1", HostRecord("h1"))
        await stop(*tasks)

    loop.run(main())
