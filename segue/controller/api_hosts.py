"""The API's part about hosts: what is known of them, what is decided, and how they are emptied."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.adapters import clock
from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, drain, fleet, gate, placing, scoped
from segue.controller.api_common import IfMatch, Key, Limit, Page, Viewer
from segue.controller.app import Controller, controller_of
from segue.controller.gate import Asked
from segue.model.lease import Charter
from segue.model.plan import Plan
from segue.model.rights import Verb
from segue.model.roster import HostRecord, HostReport
from segue.model.task import Task, TaskKind
from segue.model.trust import Bar

Planner = Annotated[Caller, Depends(gate.looks(Verb.PLAN))]
Cordons = Annotated[Asked, Depends(gate.asks(Verb.CORDON))]
Drains = Annotated[Asked, Depends(gate.asks(Verb.DRAIN))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class HostShown:
    """A host: what was decided, and what its agent said last."""

    name: str
    state: str
    """up, away or removed."""
    cordoned: bool
    labels: dict[str, str]
    guests: int
    record: HostRecord | None
    report: HostReport | None
    charter: Charter | None = None
    """By whose word its guests run, where they run by a lease."""


@dataclass(frozen=True)
class ChangeHost:
    """Body of PATCH /v1/hosts/{name}; what is left out stays, what is null in a map goes."""

    cordoned: bool | None = None
    labels: dict[str, str | None] | None = None
    revoked: bool | None = None
    """It may not speak any more."""
    taints: dict[str, bool | None] | None = None
    """By name; true: hard, false: soft."""
    memory_overcommit: float | None = None
    cpu_overcommit: float | None = None
    link_bytes_per_s: int | None = None
    """What migrations may use of its link; 0: what its agent says."""


@router.get("/hosts")
async def hosts(
    request: Request, by: Viewer, limit: Limit = 100, after: str = "", selector: str = ""
) -> Page[HostShown]:
    """Hosts by name. selector: `rack=r7,feed=a`."""
    controller = controller_of(request)
    wanted = api_common.selector(selector)
    shown = (_host(controller, name) for name in scoped.hosts(controller, by))
    return api_common.page(
        ((host.name, host) for host in shown if wanted.items() <= host.labels.items()), limit, after
    )


@router.get("/hosts/{name}")
async def host(request: Request, response: Response, name: str, by: Viewer) -> HostShown:
    """One host; its ETag is for If-Match."""
    controller = controller_of(request)
    scoped.demand_hosts(controller, by, [name])
    kept = controller.books.known(controller.mirror.hosts, name)
    response.headers["etag"] = f'"{kept.entry.revision}"'
    return _host(controller, name)


@router.patch("/hosts/{name}")
async def change_host(
    request: Request,
    response: Response,
    name: str,
    wish: ChangeHost,
    asked: Cordons,
    if_match: IfMatch = "",
) -> HostShown:
    """Cordons it, gives it labels, taints and limits, or takes its right to speak: the last is for admins."""
    fields = {key: value for key, value in asdict(wish).items() if value is not None}
    if wish.revoked is not None:
        gate.demand_more(asked, Verb.REVOKE)
    if fields.keys() - {"cordoned", "revoked"}:
        gate.demand_more(asked, Verb.LABEL)
    controller = controller_of(request)
    scoped.demand_hosts(controller, asked.by, [name])
    revision = api_common.revision(if_match)
    await controller.books.change(
        controller.mirror.hosts, name, lambda known: placing.changed_host(known, fields), revision=revision
    )
    if wish.revoked is not None:
        await _bar(controller, name, asked.by.name, barred=wish.revoked)
    return await host(request, response, name, asked.by)


@router.post("/drains/plan")
async def plan_drain(request: Request, wish: drain.DrainWish, by: Planner) -> Plan:
    """Waves, forecast, and what cannot move and why. Nothing is begun."""
    controller = controller_of(request)
    named = await _emptied(controller, by, wish)
    return await drain.plan(controller, named, api_common.demand_parallel(wish.parallel))


@router.post("/drains", status_code=202)
async def begin_drain(
    request: Request, response: Response, wish: drain.DrainWish, asked: Drains, key: Key = ""
) -> Task:
    """Empties hosts: they are cordoned first, all of them."""
    named = await _emptied(controller_of(request), asked.by, wish)
    body = {
        "hosts": list(named),
        "parallel": api_common.demand_parallel(wish.parallel),
        "limits": msgspec.to_builtins(wish.limits),
        "force": wish.force,
    }
    return await api_common.begin(request, response, asked, key, TaskKind.DRAIN, body)


async def _emptied(controller: Controller, by: Caller, wish: drain.DrainWish) -> tuple[str, ...]:
    named = await drain.hosts_of(controller, wish)
    scoped.demand_hosts(controller, by, named)
    scoped.demand_guests_on(controller, by, named)
    return named


async def _bar(controller: Controller, name: str, by: str, *, barred: bool) -> None:
    """The other agents hear of it, too."""
    if barred:
        await controller.bars.bar(Bar(f"host:{name}", clock.wall_s(), by, "it was removed from the fleet"))
    else:
        await controller.bars.allow(f"host:{name}")


def _host(controller: Controller, name: str) -> HostShown:
    mirror = controller.mirror
    record, report = mirror.hosts.get(name), mirror.reports.get(name)
    charter = mirror.charters.get(name)
    up = report is not None and report.value.linked
    is_removed = fleet.is_revoked(mirror, name)
    return HostShown(
        name=name,
        state="removed" if is_removed else "up" if up else "away",
        cordoned=record is not None and record.value.cordoned,
        labels=fleet.labels(mirror, name),
        guests=sum(guest.host == name for guest in fleet.owners(mirror).values()),
        record=record.value if record else None,
        report=report.value if report else None,
        charter=charter.value if charter else None,
    )
