"""Tasks that ended long ago go from the store. It must never drop one that somebody still goes by."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from segue.adapters import clock
from segue.controller import health, pruning
from segue.controller.calm import CalmClock
from segue.controller.mirror import Mirror
from segue.engine.store import Store
from segue.errors import SegueError
from segue.model.store import Fence
from segue.model.task import Task

log = structlog.get_logger()
TASKS_MOST: Final = 10_000
AGE_MOST_S: Final = 90 * 86400.0
AGE_LEAST_S: Final = 86400.0
"""For so long an Idempotency-Key begins nothing twice, however many tasks there are."""
PRUNE_S: Final = 60.0


def going(
    tasks: Iterable[Task], named: Collection[str], now_s: float, most_s: float = AGE_MOST_S
) -> list[str]:
    """Ids of those that ended too long ago, and of the oldest beyond the number. named: ids that others go by."""
    over = sorted((t for t in tasks if t.ended and t.id not in named), key=lambda task: -task.ended_s)
    return [
        task.id
        for number, task in enumerate(over)
        if now_s - task.ended_s > (AGE_LEAST_S if number >= TASKS_MOST else most_s)
    ]


def named(mirror: Mirror) -> set[str]:
    """Those that carried maintenances out, of which reports are kept, and the last evacuation of each host: another
    one with its number would begin it again."""
    found = {maintenance.task for maintenance in mirror.maintenances.values()}
    last: dict[str, Task] = {}
    for task in mirror.tasks.values():
        if task.by == health.BY:
            for host in task.wish["hosts"]:
                last[host] = max(task, last.get(host, task), key=lambda one: one.created_s)
    return found | {task.id for task in last.values()}


async def prune(store: Store, mirror: Mirror, fence: Fence, *, by_age: bool = True) -> int:
    """By the leader; how many went. by_age: this machine's clock may say what is old."""
    table = mirror.tasks
    ids = going(table.values(), named(mirror), clock.wall_s(), AGE_MOST_S if by_age else math.inf)
    entries = [kept.entry for kept in map(table.get, ids) if kept is not None]
    return await pruning.drop(store, mirror, entries, fence)


async def keep_pruned(store: Store, mirror: Mirror, fence: Fence) -> None:
    """For as long as the tenure lasts."""
    calm = CalmClock()
    while True:
        await asyncio.sleep(PRUNE_S)
        try:
            if gone := await prune(store, mirror, fence, by_age=calm.lasts()):
                log.info("old tasks went from the store", tasks=gone)
        except SegueError as error:
            log.warning("old tasks are not pruned yet", why=str(error))
