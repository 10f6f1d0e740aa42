"""Tasks do not fill the store: old ones go, and none that somebody still goes by."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import msgspec
import pytest

from segue.adapters import clock
from segue.adapters.store import url
from segue.controller import health, old_tasks, stores
from segue.controller.calm import CalmClock
from segue.controller.mirror import Mirror
from segue.model import store as nouns
from segue.model.maintenance import Maintenance, Order, Scope
from segue.model.store import Fence, Fenced
from segue.model.task import Task, TaskKind, TaskState
from segue.sim.loop import VirtualLoop
from segue.sim.world import NodeClock

NOW_S = 1e9
DAY_S = 86400.0


def task(number: str, ended_days: float | None, by: str = "ann", host: str = "h1") -> Task:
    ended_s = 0.0 if ended_days is None else NOW_S - ended_days * DAY_S
    state = TaskState.RUNNING if ended_days is None else TaskState.DONE
    wish = {"hosts": [host]}
    return Task(number, TaskKind.DRAIN, by, ended_s - 60, wish, state=state, ended_s=ended_s)


def test_those_go_that_ended_long_ago() -> None:
    every = [task("runs", None), task("young", 89), task("old", 91), task("kept", 200)]
    assert old_tasks.going(every, {"kept"}, NOW_S) == ["old"]


def test_of_too_many_the_oldest_go_but_none_of_the_last_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old_tasks, "TASKS_MOST", 3)
    every = [task(f"t{hours}", hours / 24) for hours in (1, 2, 3, 4, 30, 40)]
    assert old_tasks.going(every, (), NOW_S) == ["t30", "t40"]


def test_a_clock_that_jumped_makes_nothing_old() -> None:
    loop = VirtualLoop()

    async def main() -> list[bool]:
        ticks = NodeClock(loop)
        clock.give(ticks)
        calm, told = CalmClock(), []
        for jump_s, wait_s in ((0.0, 3600.0), (0.0, 83_000.0), (3e7, 60.0), (1.0, 86_000.0), (1.0, 400.0)):
            ticks.off_s += jump_s
            await asyncio.sleep(wait_s)
            told.append(calm.lasts())
        return told

    assert loop.run(main()) == [False, True, False, False, True]
    every = [task("old", 91)]
    assert old_tasks.going(every, (), NOW_S, math.inf) == []


async def test_who_is_gone_by_stays_and_who_does_not_lead_drops_nothing(tmp_path: Path) -> None:
    def put(key: str, value: object) -> nouns.Change:
        return nouns.create(key, msgspec.json.encode(value))

    now_days = (NOW_S - clock.wall_s()) / DAY_S  # They end so long before now.
    tasks = {
        **{f"old{n:03d}": task(f"old{n:03d}", now_days + 100) for n in range(150)},
        "roll": task("roll", now_days + 100),
        "first": task("first", now_days + 120, health.BY),
        "last": task("last", now_days + 110, health.BY),
        "other": task("other", now_days + 130, health.BY, "h2"),
        "new": task("new", now_days + 1),
    }
    async with stores.opened(url.parse(f"sqlite:///{tmp_path}/store.db")) as store:
        revision = await store.commit(nouns.create("held", b"1"))
        changes = [put(f"tasks/{number}", one) for number, one in tasks.items()]
        for begin in range(0, len(changes), 100):
            await store.commit(*changes[begin : begin + 100])
        order = Maintenance(Order("kernels", Scope(), ()), "ann", 0.0, task="roll")
        last = await store.commit(put("maintenances/kernels", order))
        mirror = Mirror(store)
        following = asyncio.create_task(mirror.follow())
        await mirror.reached(last)
        with pytest.raises(Fenced):
            await old_tasks.prune(store, mirror, Fence("held", revision + 1))
        assert len(mirror.tasks.items()) == len(tasks)
        assert await old_tasks.prune(store, mirror, Fence("held", revision)) == 151
        assert set(mirror.tasks.items()) == {"roll", "last", "other", "new"}
        following.cancel()
