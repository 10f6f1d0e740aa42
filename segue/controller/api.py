"""The API for people and programs, put together; the fleet in a few numbers, its events, the agents' connections."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Query, Request, WebSocket
from fastapi.responses import StreamingResponse

from segue.adapters import clock
from segue.adapters.http.access import Caller
from segue.controller import api_doc, events, fleet, gate, identity, nightly, reserve, scoped
from segue.controller.api_common import Viewer
from segue.controller.app import Controller, controller_of
from segue.engine import transfer
from segue.errors import Refused, SegueError
from segue.model.rights import Verb
from segue.model.trust import Certificate
from segue.policy import renewal

log = structlog.get_logger()
Follower = Annotated[Caller, Depends(gate.looks(Verb.FOLLOW))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)
REVISION_MOST = (1 << 63) - 1
CA_LEFT = 1.5
"""Lives of a certificate: agents get the next CA with their next certificate, which takes up to one."""


@dataclass(frozen=True)
class Status:
    """The fleet in a few numbers: of what the caller may see. `warnings`: what somebody should look at, in words."""

    controller: str
    leader: str
    epoch: int
    revision: int
    hosts: int
    hosts_up: int
    hosts_cordoned: int
    guests: int
    guests_running: int
    applications: int
    """Of the guests."""
    migrations: int
    tasks: int
    warnings: list[str]


@router.get("/status")
async def status(request: Request, by: Viewer) -> Status:
    """The fleet in a few numbers."""
    controller = controller_of(request)
    mirror = controller.mirror
    leader, guests = mirror.leader.get(""), scoped.guests(controller, by).values()
    hosts, linked = scoped.hosts(controller, by), fleet.linked(mirror)
    under_way = fleet.under_way(mirror)
    return Status(
        controller=controller.name,
        leader=leader.value.name if leader else "",
        epoch=leader.value.epoch if leader else 0,
        revision=mirror.revision,
        hosts=len(hosts),
        hosts_up=len([host for host in hosts if host in linked]),
        hosts_cordoned=sum(mirror.hosts.items()[host].value.cordoned for host in hosts),
        guests=len(guests),
        guests_running=sum(guest.state == "running" for guest in guests),
        applications=sum(guest.spec.is_app for guest in guests),
        migrations=len([name for name in under_way if scoped.sees_guest(controller, by, name)]),
        tasks=sum(
            not task.ended and scoped.sees_task(controller, by, task) for task in mirror.tasks.values()
        ),
        warnings=list(_warnings(controller, hosts, by)),
    )


@router.get("/events", response_class=StreamingResponse, responses=api_doc.EVENTS)
async def follow(
    request: Request, _: Follower, since: Annotated[int, Query(ge=0, le=REVISION_MOST)] = 0
) -> StreamingResponse:
    """Server-sent events from the store; `Last-Event-ID` or `since` resumes after that revision."""
    last = request.headers.get("last-event-id", "")
    after_ = min(int(last), REVISION_MOST) if last.isascii() and last.isdigit() else since
    controller = controller_of(request)
    stream = await events.opened(controller.store, after_ or controller.mirror.revision)
    return StreamingResponse(stream, media_type="text/event-stream")


@router.websocket("/link")
async def link(socket: WebSocket) -> None:
    """The connection that an agent keeps."""
    try:
        found = gate.caller(socket)
        if found.role != "host":
            raise gate.refused("this is for the agents of hosts")
    except SegueError as error:
        log.warning("link refused", address=gate.address(socket), why=error.why)
        raise
    await controller_of(socket).links.serve(socket, found)


def _warnings(controller: Controller, hosts: list[str], by: Caller) -> Iterator[str]:
    """Hosts that are lost, or could not be; certificates that ought to have been renewed, and a CA that ends before."""
    yield from _left(controller)
    yield from reserve.warnings(controller, hosts)
    if not by.scope:
        yield from identity.warnings(controller)
        yield from nightly.warnings(controller)
    ca_ends_s = controller.authority.certificate.not_valid_after_utc.timestamp()
    if ca_ends_s - clock.wall_s() < CA_LEFT * controller.certificate_s:
        yield f"the fleet's CA ends on {_day(ca_ends_s)}: `segue controller renew-ca`"
    yield from _warning(f"controller {controller.name}", controller.own.certificate())
    for name in hosts:
        report = controller.mirror.reports.get(name)
        if report is not None and report.value.facts.certificate is not None:
            yield from _warning(f"host {name}", report.value.facts.certificate)


def _left(controller: Controller) -> Iterator[str]:
    try:
        transfer.demand_unmarked(controller.mirror.marks.found())
    except Refused as error:
        yield f"nobody leads from this store: {error.why}"


def _warning(whose: str, certificate: Certificate) -> Iterator[str]:
    overdue = renewal.is_overdue(certificate.begins_s, certificate.ends_s, clock.wall_s())
    if overdue or certificate.problem:
        why = certificate.problem or "its agent has not renewed it; is it connected?"
        yield f"the certificate of {whose} ends on {_day(certificate.ends_s)} and is not renewed: {why}"


def _day(at_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at_s))
