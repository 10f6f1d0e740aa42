"""Asks every agent how its host is, keeps the answers in the store, and begins what the policy answers to them.

It must never begin an evacuation that the caps forbid, nor the same one twice, whoever leads.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import fleet, works
from segue.controller.app import Controller
from segue.controller.mirror import Mirror
from segue.errors import SegueError
from segue.model import store as nouns
from segue.model.answer import Answer, Evacuation, Report
from segue.model.leadership import Tenure
from segue.model.migration import Limits
from segue.model.task import Task, TaskKind
from segue.policy import answer

log = structlog.get_logger()

ASK_S: Final = 5.0
WITHIN_S: Final = 5.0
AGAIN_S: Final = 120.0
"""What has not changed is written again so often: a report that is not is old after ten minutes."""
SIDE_BY_SIDE: Final = 32
PARALLEL: Final = 4
BY: Final = "health"


@dataclass(frozen=True)
class FleetHealth:
    """What the API answers."""

    reports: list[Report]
    answer: Answer


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts."""
    while True:
        try:
            await side_by_side(_ask(controller, tenure, host) for host in sorted(controller.links.linked()))
            await _act(controller, tenure)
        except SegueError as error:
            log.warning("the health of hosts is asked for again later", why=str(error))
        await asyncio.sleep(ASK_S)


def seen(controller: Controller) -> FleetHealth:
    """All that is known, and what the policy answers to it now. Nothing is begun."""
    mirror = controller.mirror
    reports = fleet.reports(mirror)
    made = answer.answer(
        fleet.seen(mirror),
        reports,
        evacuating(mirror),
        clock.wall_s(),
        controller.answers,
        _tried(mirror, answer.merged(reports)),
        tuple(mirror.warnings.values()),
    )
    return FleetHealth(answer.merged(reports), made)


def evacuating(mirror: Mirror) -> set[str]:
    """Hosts that a drain or a maintenance empties now, whoever asked for it."""
    drains = (task for task in mirror.tasks.values() if task.kind is TaskKind.DRAIN and not task.ended)
    return {str(host) for task in drains for host in task.wish["hosts"]} | works.emptied(mirror)


def _tried(mirror: Mirror, reports: Iterable[Report]) -> dict[str, str]:
    """Evacuations that have ended, by the host: what the task says."""
    begun = {one.host: mirror.tasks.get(_number(one.host, one.since_s)) for one in reports}
    return {host: kept.value.note for host, kept in begun.items() if kept is not None and kept.value.ended}


def _number(host: str, since_s: float) -> str:
    """The id of an evacuation says for which trouble it is: for the same there is no second one."""
    return hashlib.sha256(f"{BY} {host} {since_s}".encode()).hexdigest()[:32]


async def side_by_side(asked: Iterable[Awaitable[None]]) -> None:
    gate = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(work: Awaitable[None]) -> None:
        async with gate:
            await work

    await asyncio.gather(*(one(work) for work in asked))


async def _ask(controller: Controller, tenure: Tenure, host: str) -> None:
    """An agent that does not answer, or is too old for the question, leaves its last report to grow old."""
    try:
        told = await controller.links.call(host, "GET", "/v1/health/report", within_s=WITHIN_S)
        report = msgspec.convert(told, Report)
    except (SegueError, msgspec.ValidationError) as error:
        log.debug("a host does not say how it is", host=host, why=str(error))
        return
    kept = controller.mirror.health.get(host)
    # A host speaks for itself alone.
    report = answer.ours(replace(report, host=host), clock.wall_s(), kept.value if kept else None)
    if (
        kept is not None
        and replace(kept.value, at_s=report.at_s) == report
        and report.at_s < kept.value.at_s + AGAIN_S
    ):
        return
    encoded = msgspec.json.encode(report)
    key = controller.mirror.health.key(host)
    change = nouns.create(key, encoded) if kept is None else nouns.replace(kept.entry, encoded)
    revision = await controller.store.commit(change, fence=tenure.fence)
    await controller.mirror.reached(revision)


async def _act(controller: Controller, tenure: Tenure) -> None:
    if controller.answers.at_once == 0:
        return
    since = {report.host: report.since_s for report in answer.merged(fleet.reports(controller.mirror))}
    for evacuation in seen(controller).answer.evacuations:
        await _evacuate(controller, tenure, evacuation, since[evacuation.host])


async def _evacuate(controller: Controller, tenure: Tenure, wanted: Evacuation, since_s: float) -> None:
    """A drain as a person would begin it."""
    number = _number(wanted.host, since_s)
    if controller.mirror.tasks.get(number) is not None:
        return
    limits = Limits(storage_postcopy=wanted.storage_post_copy)
    wish = {
        "hosts": [wanted.host],
        "parallel": PARALLEL,
        "limits": msgspec.to_builtins(limits),
        "force": False,
    }
    task = Task(number, TaskKind.DRAIN, BY, clock.wall_s(), wish, note=wanted.why)
    if await controller.books.add_once(controller.mirror.tasks, number, task, fence=tenure.fence):
        log.warning("a failing host is emptied", host=wanted.host, why=wanted.why, task=number)
