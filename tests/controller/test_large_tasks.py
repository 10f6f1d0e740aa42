"""A task is one entry of the store, however many guests it has: a drain in which hundreds fail ends, and says why."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import msgspec

from segue.adapters import clock
from segue.controller import moving
from segue.controller.work import Work
from segue.model import store as nouns
from segue.model.leadership import Tenure
from segue.model.store import VALUE_BYTES, Fence, Lease
from segue.model.task import Task, TaskKind, TaskState, Trial
from segue.policy import reasons
from segue.sim.loop import VirtualLoop
from segue.sim.store import Shelf
from segue.sim.world import NodeClock
from tests.controller.in_memory import controller, stop

WHY = "no answer came from the switch " * 10


def failed(count: int) -> tuple[Trial, ...]:
    hosts = ("host0001", "host0002", "host0003")
    return tuple(Trial(f"guest{n:05d}", "", "", 3, hosts, WHY[:300], 1.8e9) for n in range(count))


def test_a_rack_in_which_every_move_fails_fits() -> None:
    staying = {f"guest{n:05d}": f"3 moves of it failed, the last one: {WHY}" for n in range(5000)}
    made = Task("t1", TaskKind.DRAIN, "ann", 0.0, {}, trials=failed(600), staying=staying)
    assert len(msgspec.json.encode(made)) > 4 * VALUE_BYTES
    fits = replace(made, trials=moving._fitting(made.trials), staying=reasons.kept(staying))
    assert len(msgspec.json.encode(fits)) < VALUE_BYTES
    assert all(trial.why and WHY.startswith(trial.why) for trial in fits.trials)
    assert fits.staying["guest00000"].startswith("3 moves of it failed")
    few = dict(list(staying.items())[:10])
    assert reasons.kept(few) == few
    assert moving._fitting(made.trials[:10]) == made.trials[:10]


def test_one_that_is_too_large_for_the_store_ends_nevertheless() -> None:
    loop = VirtualLoop()

    async def main() -> Task:
        clock.give(NodeClock(loop))
        one = controller(Shelf(loop), "c1")
        follow = asyncio.create_task(one.mirror.follow())
        fence = Fence("leader", await one.store.commit(nouns.create("leader", b"{}")))
        await one.books.add(one.mirror.tasks, "t1", Task("t1", TaskKind.DRAIN, "ann", 0.0, {}))
        work = Work(one, Tenure("c1", 1, fence, Lease(1, 5.0), 0.0), "t1")
        await work.end(TaskState.PARTIAL, "9000 guests stay", trials=failed(9000))
        ended = work.task
        await stop(follow)
        return ended

    ended = loop.run(main())
    assert (ended.state, ended.note) == (TaskState.PARTIAL, "9000 guests stay")
    assert ended.trials == (), "what cannot be kept is left out"
