"""Once a day: could every host, rack and power feed be emptied now, and if not, why? It plans, and moves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Final

import structlog

from segue.adapters import clock
from segue.controller import fleet
from segue.controller.app import Controller
from segue.errors import Refused, SegueError
from segue.model.leadership import Tenure
from segue.model.plan import Audited, Drainable
from segue.policy import audit, drain
from segue.policy.timetable import Slots

log = structlog.get_logger()
DAY_S: Final = 86400.0
LOOK_S: Final = 60.0
"""Also after its start: by then all hosts are connected that will be."""
KEPT_MOST: Final = 100
REASONS_MOST: Final = 5
"""Of each: all of it is one entry of the store."""
NAMED: Final = 3


async def ask(controller: Controller, per_host: int = 4) -> list[Drainable]:
    """As the fleet is now."""
    seen = await fleet.looked(controller.mirror, controller.loads)
    orders = drain.Orders(Slots(per_source=per_host, per_target=per_host))
    return await asyncio.to_thread(lambda: list(audit.audit(seen, orders)))


async def keep(controller: Controller) -> None:
    """For as long as the controller lives; whoever leads asks."""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            tenure = controller.candidate.demand()
        except Refused:
            continue
        kept = controller.mirror.drain_audit.get("")
        if is_due(kept.value if kept else None, clock.wall_s()):
            try:
                await _ask_and_keep(controller, tenure)
            except SegueError as error:
                log.info("the nightly audit is asked again", why=str(error))


def warnings(controller: Controller) -> Iterator[str]:
    """What it found last."""
    kept = controller.mirror.drain_audit.get("")
    if kept is not None and kept.value.failed:
        last = kept.value
        names = ", ".join(f"{one.label}={one.value}" for one in last.failing[:NAMED])
        more = f" and {last.failed - NAMED} more" if last.failed > NAMED else ""
        yield f"could not be emptied when last asked: {names}{more}; `segue plan audit --last` says why"


def is_due(last: Audited | None, now_s: float) -> bool:
    """One from the future is of a clock that was set back since."""
    return last is None or not now_s - DAY_S < last.at_s <= now_s


def made(answers: list[Drainable], seconds: float) -> Audited:
    """What is kept of it."""
    failing = [answer for answer in answers if answer.staying]
    kept = tuple(map(_short, failing[:KEPT_MOST]))
    return Audited(clock.wall_s(), seconds, len(answers), len(failing), kept)


async def _ask_and_keep(controller: Controller, tenure: Tenure) -> None:
    begun_s = clock.steady_s()
    found = made(await ask(controller), 0.0)
    found = replace(found, seconds=clock.steady_s() - begun_s)
    table, books = controller.mirror.drain_audit, controller.books
    if table.get("") is None:
        await books.add(table, "", found, fence=tenure.fence)
    else:
        await books.change(table, "", lambda _: found, fence=tenure.fence)
    log.info("nightly audit", asked=found.asked, failed=found.failed, seconds=round(found.seconds, 1))


def _short(answer: Drainable) -> Drainable:
    return replace(
        answer, hosts=answer.hosts[:REASONS_MOST], staying=dict(islice(answer.staying.items(), REASONS_MOST))
    )
