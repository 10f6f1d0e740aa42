"""The work of the leader: every task that has not ended is carried out, each by itself, until the tenure ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog

from segue.controller import (
    audit_trail,
    balance,
    balancer,
    certificates,
    deaths,
    drain,
    elsewhere,
    health,
    identity,
    incident_posts,
    leases,
    maintenance,
    reserve,
    sensors,
    single,
    updating,
    verifying,
)
from segue.controller.app import Controller
from segue.controller.incidents import Fetcher
from segue.controller.links import Links
from segue.controller.reports import Reports
from segue.controller.work import LOOK_S, Work, failure_of
from segue.errors import Kind, Refused, SegueError
from segue.model.leadership import NotLeading, Tenure
from segue.model.store import Away, Fenced, OutcomeUnknown
from segue.model.task import TaskKind, TaskState

log = structlog.get_logger()

HOW: Final[Mapping[TaskKind, Callable[[Work], Awaitable[None]]]] = {
    TaskKind.CREATE: single.create,
    TaskKind.MOVE: single.move,
    TaskKind.POWER: single.power,
    TaskKind.DRAIN: drain.carry_out,
    TaskKind.BALANCE: balance.carry_out,
    TaskKind.UPDATE: updating.carry_out,
    TaskKind.MAINTENANCE: maintenance.carry_out,
    TaskKind.VERIFY: verifying.carry_out,
    TaskKind.RESTART: elsewhere.carry_out,
}
INTRODUCE_S: Final = 0.5
GATHER_S: Final = 10.0
"""After a change of leader agents connect again within this time; only then an absent one is really absent."""
LONELY_S: Final = 20.0
"""A leader that no host reaches for so long lets another one lead; longer each time that did not help."""
LONELY_MOST_S: Final = 300.0
ASIDE_S: Final = 2.0
AGAIN_S: Final = 0.1


async def lead(controller: Controller) -> None:
    """For as long as the controller lives: waits to lead, and leads."""
    lonely = Loneliness(controller)
    while True:
        await controller.candidate.reign(
            lambda tenure: _reign(controller, tenure, lonely), controller.links.highest_seen
        )
        await asyncio.sleep(lonely.rest_s())


class Loneliness:
    """How long no host has reached the leader: the network to it may be broken where that to the store is not."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._patience_s = LONELY_S
        self._since_s = 0.0
        self._gave_up = False

    def begins(self) -> None:
        """A new tenure."""
        self._since_s = asyncio.get_running_loop().time()

    def look(self) -> bool:
        """True while the fleet has hosts, and none is connected. Raises Refused when that has lasted too long."""
        hosts = any(not host.revoked for host in self._controller.mirror.hosts.values())
        if not hosts or self._controller.links.linked():
            self.begins()
            self._patience_s = LONELY_S
            return False
        lasted_s = asyncio.get_running_loop().time() - self._since_s
        if lasted_s < self._patience_s:
            return True
        self._patience_s, self._gave_up = min(LONELY_MOST_S, 2 * self._patience_s), True
        raise Refused(
            what="this controller lets another one lead",
            why=f"no host of the fleet has reached it for {lasted_s:.0f} s",
            todo="Look at the network between hosts and controllers.",
            kind=Kind.UNREACHABLE,
        )

    def rest_s(self) -> float:
        """Before it stands again: long enough for another to win where it was lonely."""
        rest_s, self._gave_up = ASIDE_S if self._gave_up else AGAIN_S, False
        return rest_s


async def _reign(controller: Controller, tenure: Tenure, lonely: Loneliness) -> None:
    log.info("leads", name=tenure.name, epoch=tenure.epoch)
    mirror, links = controller.mirror, controller.links
    running: dict[str, asyncio.Task[None]] = {}
    new: dict[str, str] = {}
    beside = (
        asyncio.create_task(_introduce(links, new)),
        asyncio.create_task(audit_trail.keep_pruned(controller.store, mirror, tenure.fence)),
        asyncio.create_task(health.keep(controller, tenure)),
        asyncio.create_task(Fetcher(controller, tenure).keep()),
        asyncio.create_task(incident_posts.keep(controller)),
    )
    try:
        await mirror.reached(tenure.fence.revision)
        await identity.settle(controller, tenure)
        reports = Reports(controller.store, mirror, tenure, new, controller.traces.ended)
        await reports.all_away()
        links.open(reports, partial(certificates.renew, controller))
        lonely.begins()
        if controller.powers.watched:
            running["deaths"] = asyncio.create_task(deaths.keep(controller, tenure))
            running["leases"] = asyncio.create_task(leases.keep(controller, tenure))
        await _gather(controller)
        running["swept"] = asyncio.create_task(verifying.keep_swept(controller, tenure))
        running["elsewhere"] = asyncio.create_task(elsewhere.keep(controller, tenure))
        running["balancer"] = asyncio.create_task(balancer.keep(controller, tenure))
        if controller.powers.watched:
            running["sensors"] = asyncio.create_task(sensors.keep(controller, tenure))
            running["reserve"] = asyncio.create_task(reserve.keep(controller))
        while not links.outranked.is_set():
            alone = lonely.look()
            for number, kept in list(mirror.tasks.items().items()):
                idle = number not in running or running[number].done()
                if not kept.value.ended and idle and not alone:
                    running[number] = asyncio.create_task(_carry_out(Work(controller, tenure, number)))
            await links.enforce()
            await mirror.change(LOOK_S)
    except SegueError as error:
        log.warning("leads no more", why=str(error))
    finally:
        for task in (*beside, *running.values()):
            task.cancel()
        await asyncio.wait((*beside, *running.values()))
        await links.close()


async def _introduce(links: Links, new: dict[str, str]) -> None:
    """Tells everybody who has come, all of them together: a fleet that connects at once would talk of nothing else."""
    while True:
        await asyncio.sleep(INTRODUCE_S)
        if new:
            told = dict(new)
            new.clear()
            with contextlib.suppress(SegueError):  # Who does not lead any more has nothing to tell.
                await links.introduce(told)


async def _gather(controller: Controller) -> None:
    """Waits until all hosts that belong to the fleet are here, or long enough: else a drain would plan without them.
    One that is known to be lost is not waited for."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + GATHER_S
    while loop.time() < until_s and not controller.links.outranked.is_set():
        hosts = {host.name for host in controller.mirror.hosts.values() if not host.revoked}
        if hosts and hosts - controller.mirror.deaths.items().keys() <= controller.links.linked():
            return
        if not hosts and not any(not task.ended for task in controller.mirror.tasks.values()):
            return
        await controller.mirror.change(0.2)


async def _carry_out(work: Work) -> None:
    structlog.contextvars.bind_contextvars(task=work.id)
    try:
        await HOW[work.task.kind](work)
    except (NotLeading, Fenced, Away, OutcomeUnknown) as error:
        log.info("a task is left to whoever leads", task=work.id, why=str(error))
    except SegueError as error:
        await _fail(work, error)
    except Exception as error:
        log.error("unforeseen error in a task", task=work.id, exc_info=error)
        await _fail(work, _bug(error))


async def _fail(work: Work, error: SegueError) -> None:
    log.info("task failed", task=work.id, why=str(error))
    try:
        await work.end(TaskState.FAILED, f"{error.what}: {error.why}", failure_of(error))
    except SegueError as problem:
        log.warning("a task's end is not kept yet", task=work.id, why=str(problem))


def _bug(error: Exception) -> Refused:
    return Refused(
        what="the task was not carried out to its end",
        why=f"an error nobody foresaw ({type(error).__name__}: {error})",
        todo="Look at the controller's log; what was begun goes on at the agents.",
        kind=Kind.CONFLICT,
    )
