"""Has guests that crashed started on other hosts, where their policy wants that; and has those ended and started
elsewhere that no live migration takes away from a failing host, where their policy allows it.

It must never start a guest itself: the host that has it gives it away, by a cold migration, or restarts it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from typing import Final

import structlog

from segue.adapters import clock
from segue.controller import fleet, health, moving, single
from segue.controller.app import Controller
from segue.controller.mirror import Mirror
from segue.controller.work import LOOK_S, Work, no_host
from segue.errors import Kind, SegueError
from segue.model.crash import Cause, Deed
from segue.model.incident import Incident
from segue.model.leadership import NotLeading, Tenure
from segue.model.plan import NoHost
from segue.model.store import Away, Fenced, OutcomeUnknown
from segue.model.task import Task, TaskKind, TaskState, Trial
from segue.policy import placement, takeover
from segue.wire.frames import Shown

log = structlog.get_logger()
TRIES: Final = 3
TELL_S: Final = 5.0
BY: Final = "crash"
LATE_S: Final = 3600.0
"""An evacuation that ended so long ago gives nobody up any more."""


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts."""
    while True:
        try:
            for incident in waiting(controller.mirror):
                await _begin(controller, tenure, incident)
            for shown, trial in unmovable(controller.mirror):
                await _give_up(controller, shown, trial)
        except SegueError as error:
            log.info("guests that crashed are looked after later", why=str(error))
        await asyncio.sleep(LOOK_S)


def waiting(mirror: Mirror) -> Iterator[Incident]:
    """Those whose guest another host is to start, now."""
    for incident in mirror.incidents.values():
        if incident.is_open and incident.elsewhere_s and not incident.hits[0].runs:
            yield incident


def unmovable(mirror: Mirror) -> Iterator[tuple[Shown, Trial]]:
    """Guests that run on a failing host, whose moves failed too often, and that may be ended for that."""
    if not (failed := list(_failed(mirror))):
        return  # As nearly always: a large fleet is not walked through each second for nothing.
    owners = fleet.owners(mirror)
    known = [one for one in mirror.incidents.values() if one.cause is Cause.UNMOVABLE]
    for task, trial in failed:
        shown = owners.get(trial.guest)
        if shown is None or shown.host not in task.wish["hosts"] or shown.state != "running":
            continue
        told = any(one.hits[0].guest == shown.name and one.at_s >= task.created_s for one in known)
        if not told and shown.spec.on_crash.unmovable is not Deed.LEAVE:
            yield shown, trial


def _failed(mirror: Mirror) -> Iterator[tuple[Task, Trial]]:
    """Of evacuations: guests whose moves failed too often, or, where there are few hosts, to each of them."""
    now_s = clock.wall_s()
    for task in mirror.tasks.values():
        late = task.ended and now_s - task.ended_s > LATE_S
        if task.kind is not TaskKind.DRAIN or task.by != health.BY or late:
            continue
        most = 1 if task.ended else moving.FAILURES_MOST
        for trial in task.trials:
            if trial.failures >= most and not trial.target:
                yield task, trial


async def _give_up(controller: Controller, shown: Shown, trial: Trial) -> None:
    """Its agent opens an incident, and does what its policy says. Nobody is ended for whom there is no room."""
    seen = await fleet.looked(controller.mirror, controller.loads, {shown.name: (shown.host,)})
    guest = next(guest for guest in seen.guests if guest.name == shown.name)
    found = await asyncio.to_thread(placement.place, takeover.anew(guest), seen)
    if guest.pinned or isinstance(found, NoHost):
        return
    why = f"{trial.failures} moves failed, the last one: {trial.why}"
    log.warning("a guest cannot be moved from a failing host", guest=shown.name, host=shown.host, why=why)
    path = f"/v1/guests/{shown.name}/unmovable"
    await controller.links.call(shown.host, "POST", path, {"why": why}, within_s=TELL_S)


async def _begin(controller: Controller, tenure: Tenure, incident: Incident) -> None:
    """One task for one wish of one incident, whoever leads."""
    number = hashlib.sha256(f"{BY} {incident.id} {incident.elsewhere_s}".encode()).hexdigest()[:32]
    if controller.mirror.tasks.get(number) is not None:
        return
    wish = {"guest": incident.hits[0].guest, "incident": incident.id}
    task = Task(number, TaskKind.RESTART, BY, clock.wall_s(), wish, note=incident.text)
    if await controller.books.add_once(controller.mirror.tasks, number, task, fence=tenure.fence):
        log.warning("a guest that crashed is started elsewhere", guest=wish["guest"], task=number)


async def carry_out(work: Work) -> None:
    """Chooses a host, has the guest given to it, and follows that; where it fails the guest's own host is told."""
    name = str(work.task.wish["guest"])
    crashed_on = fleet.guest(work.controller.mirror, name).host
    try:
        await _send(work, name, crashed_on)
        await single.follow(work, name)
    except (NotLeading, Fenced, Away, OutcomeUnknown):
        raise
    except SegueError as error:
        await _stays(work, crashed_on, error.why)
        raise
    if work.task.state is not TaskState.DONE:
        await _stays(work, crashed_on, work.task.note)


async def _send(work: Work, name: str, crashed_on: str) -> None:
    """Begins its cold migration; a host that refuses is left out, and the next best is asked."""
    not_to = {crashed_on: "it crashed there"}

    async def where() -> str:
        return (await single.choose_again(work, name, not_to)).host

    async def send(target: str) -> str:
        return await work.begin_at_source(name, "migrations", {"to": target, "cold": True})

    for _ in range(TRIES):
        try:
            await single.begin_once(work, name, where, send)
            return
        except SegueError as error:
            if error.kind is not Kind.POLICY or not work.task.host:
                raise
            not_to[work.task.host] = error.why
            await work.note(host="")
    raise no_host(f"no host takes {name}", "; ".join(f"{host}: {why}" for host, why in not_to.items()))


async def _stays(work: Work, host: str, why: str) -> None:
    """Its host restarts it at once; one that is not reached does so by itself, later."""
    path = f"/v1/incidents/{work.task.wish['incident']}/stays"
    try:
        await work.controller.links.call(host, "POST", path, {"why": why}, within_s=TELL_S)
    except SegueError as error:
        log.info("a guest's host is not told that it stays", host=host, why=str(error))
