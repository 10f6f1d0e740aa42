"""The API for people and programs: it reads the mirror, writes decisions, and begins tasks. It moves nothing."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

from segue.adapters.http.access import Caller
from segue.controller import drain, events, fleet, gate, placing
from segue.controller.app import Controller, controller_of
from segue.controller.gate import Asked
from segue.errors import Kind, Refused
from segue.model.migration import Limits, Migration
from segue.model.plan import Choice, NoHost, Plan
from segue.model.roster import HostRecord, HostReport
from segue.model.store import Conflict
from segue.model.task import Task, TaskKind, Wish, after
from segue.policy import placement
from segue.wire.frames import CreateGuest, Shown

T = TypeVar("T")
PAGE_MOST: Final = 500
KEYED: Final = uuid.UUID("6f2f4c1e-58b5-4d0e-9d43-9b8f5c6f0c52")
"""Tasks with an Idempotency-Key get an id that follows from it."""
Viewer = Annotated[Caller, Depends(gate.only("viewer"))]
Operator = Annotated[Asked, Depends(gate.audited("operator"))]
Key = Annotated[str, Header(alias="idempotency-key", max_length=200)]
Limit = Annotated[int, Query(ge=1, le=PAGE_MOST)]
router = APIRouter(prefix="/v1")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. `next`: give it as `after` to go on; empty at the end."""

    items: list[T]
    next: str = ""


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


@dataclass(frozen=True)
class Status:
    """The fleet in a few numbers."""

    controller: str
    leader: str
    epoch: int
    revision: int
    hosts: int
    hosts_up: int
    hosts_cordoned: int
    guests: int
    guests_running: int
    migrations: int
    tasks: int


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


@dataclass(frozen=True)
class MoveGuest:
    """Body of POST /v1/guests/{name}/migrations. Without `to` the fleet chooses."""

    to: str = ""
    limits: Limits = field(default_factory=Limits)
    force: bool = False


@dataclass(frozen=True)
class Place:
    """Body of POST /v1/placements: a guest that is there already."""

    guest: str


@router.get("/status")
async def status(request: Request, _: Viewer) -> Status:
    """The fleet in a few numbers."""
    controller = controller_of(request)
    mirror = controller.mirror
    leader, guests = mirror.leader.get(""), fleet.owners(mirror).values()
    return Status(
        controller=controller.name,
        leader=leader.value.name if leader else "",
        epoch=leader.value.epoch if leader else 0,
        revision=mirror.revision,
        hosts=len(mirror.hosts.items()),
        hosts_up=len(fleet.linked(mirror)),
        hosts_cordoned=sum(host.cordoned for host in mirror.hosts.values()),
        guests=len(guests),
        guests_running=sum(guest.state == "running" for guest in guests),
        migrations=len(fleet.under_way(mirror)),
        tasks=sum(not task.ended for task in mirror.tasks.values()),
    )


@router.get("/hosts")
async def hosts(
    request: Request, _: Viewer, limit: Limit = 100, after: str = "", selector: str = ""
) -> Page[HostShown]:
    """Hosts by name. selector: `rack=r7,feed=a`."""
    controller = controller_of(request)
    wanted = _selector(selector)
    shown = (_host(controller, name) for name in sorted(controller.mirror.hosts.items()))
    return page(((host.name, host) for host in shown if wanted.items() <= host.labels.items()), limit, after)


@router.get("/hosts/{name}")
async def host(request: Request, response: Response, name: str, _: Viewer) -> HostShown:
    """One host; its ETag is for If-Match."""
    controller = controller_of(request)
    kept = controller.books.known(controller.mirror.hosts, name)
    response.headers["etag"] = f'"{kept.entry.revision}"'
    return _host(controller, name)


@router.patch("/hosts/{name}")
async def change_host(
    request: Request,
    response: Response,
    name: str,
    wish: ChangeHost,
    asked: Operator,
    if_match: Annotated[str, Header(alias="if-match")] = "",
) -> HostShown:
    """Cordons it, gives it labels, taints and limits, or takes its right to speak: the last is for admins."""
    if wish.revoked is not None and not asked.by.may("admin"):
        raise gate.refused(f"{asked.by.name} is no admin")
    controller = controller_of(request)
    fields = {key: value for key, value in asdict(wish).items() if value is not None}
    revision = _revision(if_match)
    await controller.books.change(
        controller.mirror.hosts, name, lambda known: placing.changed_host(known, fields), revision=revision
    )
    return await host(request, response, name, asked.by)


@router.get("/guests")
async def guests(request: Request, _: Viewer, limit: Limit = 100, after: str = "") -> Page[Shown]:
    """Guests by name, each as its owner has it."""
    return page(fleet.owners(controller_of(request).mirror).items(), limit, after)


@router.get("/guests/{name}")
async def guest(request: Request, name: str, _: Viewer) -> Shown:
    """One guest."""
    return fleet.guest(controller_of(request).mirror, name)


@router.post("/guests", status_code=202)
async def create_guest(
    request: Request, response: Response, wish: CreateGuest, asked: Operator, key: Key = ""
) -> Task:
    """A new guest on the host that suits it best."""
    return await _begin(request, response, asked, key, TaskKind.CREATE, wish)


@router.post("/guests/{name}/migrations", status_code=202)
async def move_guest(
    request: Request, response: Response, name: str, wish: MoveGuest, asked: Operator, key: Key = ""
) -> Task:
    """Moves a guest, to the host that suits it best where none is named."""
    fleet.guest(controller_of(request).mirror, name)
    body = {"guest": name, **msgspec.to_builtins(wish)}
    return await _begin(request, response, asked, key, TaskKind.MOVE, body)


@router.post("/guests/{name}/start", status_code=202)
async def start_guest(
    request: Request, response: Response, name: str, asked: Operator, key: Key = ""
) -> Task:
    """Starts it where it is."""
    fleet.guest(controller_of(request).mirror, name)
    body = {"guest": name, "action": "start"}
    return await _begin(request, response, asked, key, TaskKind.POWER, body)


@router.post("/guests/{name}/stop", status_code=202)
async def stop_guest(request: Request, response: Response, name: str, asked: Operator, key: Key = "") -> Task:
    """Shuts it down."""
    fleet.guest(controller_of(request).mirror, name)
    body = {"guest": name, "action": "stop"}
    return await _begin(request, response, asked, key, TaskKind.POWER, body)


@router.get("/migrations")
async def migrations(request: Request, _: Viewer, limit: Limit = 100, after: str = "") -> Page[Migration]:
    """Migrations by id, as the sources' agents reported them."""
    return page(((m.id, m) for m in controller_of(request).mirror.migrations.values()), limit, after)


@router.post("/placements")
async def place(request: Request, wish: Place, _: Viewer) -> Choice | NoHost:
    """Where a guest would go now, and for every other host why not there. Nothing is begun."""
    mirror = controller_of(request).mirror
    shown = fleet.guest(mirror, wish.guest)
    seen = fleet.seen(mirror, loads=controller_of(request).loads)
    return placement.place(next(guest for guest in seen.guests if guest.name == shown.name), seen)


@router.post("/drains/plan")
async def plan_drain(request: Request, wish: drain.DrainWish, _: Viewer) -> Plan:
    """Waves, forecast, and what cannot move and why. Nothing is begun."""
    mirror, loads = controller_of(request).mirror, controller_of(request).loads
    return drain.plan(mirror, drain.hosts_of(mirror, wish), max(1, wish.parallel), loads)


@router.post("/drains", status_code=202)
async def begin_drain(
    request: Request, response: Response, wish: drain.DrainWish, asked: Operator, key: Key = ""
) -> Task:
    """Empties hosts: they are cordoned first, all of them."""
    controller = controller_of(request)
    named = drain.hosts_of(controller.mirror, wish)
    for name in named:
        controller.books.known(controller.mirror.hosts, name)
    body = {
        "hosts": list(named),
        "parallel": max(1, min(16, wish.parallel)),
        "limits": msgspec.to_builtins(msgspec.convert(wish.limits, Limits)),
        "force": wish.force,
    }
    return await _begin(request, response, asked, key, TaskKind.DRAIN, body)


@router.get("/tasks")
async def tasks(request: Request, _: Viewer, limit: Limit = 100, after: str = "") -> Page[Task]:
    """Tasks by id."""
    return page(((task.id, task) for task in controller_of(request).mirror.tasks.values()), limit, after)


@router.get("/tasks/{number}")
async def task(request: Request, response: Response, number: str, _: Viewer) -> Task:
    """One task, by its id or the beginning of it."""
    controller = controller_of(request)
    kept = controller.books.known(controller.mirror.tasks, _one(controller, number))
    response.headers["etag"] = f'"{kept.entry.revision}"'
    return kept.value


@router.post("/tasks/{number}/{wish}", status_code=202)
async def steer_task(request: Request, number: str, wish: Wish, _: Operator) -> Task:
    """Pauses a drain, resumes it, or cancels a task: what has begun and can be taken back is."""
    controller = controller_of(request)
    number = _one(controller, number)
    return await controller.books.change(controller.mirror.tasks, number, lambda known: after(known, wish))


@router.get("/events")
async def follow(request: Request, _: Viewer, since: int = 0) -> StreamingResponse:
    """Server-sent events from the store; `Last-Event-ID` or `since` resumes after that revision."""
    last = request.headers.get("last-event-id", "")
    after_ = int(last) if last.isdigit() else since
    controller = controller_of(request)
    stream = await events.opened(controller.store, after_ or controller.mirror.revision)
    return StreamingResponse(stream, media_type="text/event-stream")


@router.websocket("/link")
async def link(socket: WebSocket) -> None:
    """The connection that an agent keeps."""
    found = gate.caller(socket)
    if found.role != "host":
        raise gate.refused("this is for the agents of hosts")
    await controller_of(socket).links.serve(socket, found)


def _host(controller: Controller, name: str) -> HostShown:
    mirror = controller.mirror
    record, report = mirror.hosts.get(name), mirror.reports.get(name)
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
    )


def page(items: Iterable[tuple[str, T]], limit: int, after: str) -> Page[T]:
    """The part of it that was asked for."""
    found = [(name, item) for name, item in items if name > after][: limit + 1]
    more = len(found) > limit
    return Page([item for _, item in found[:limit]], found[limit - 1][0] if more else "")


def _selector(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in text.split(",") if part]
    if any(not (label and sign) for label, sign, _ in pairs):
        raise _odd(f"'{text[:80]}' is no selector", "Write it as rack=r7,feed=a.")
    return {label: value for label, _, value in pairs}


def _revision(if_match: str) -> int:
    text = if_match.strip().strip('"')
    if text and not text.isdigit():
        raise _odd(f"'{if_match[:40]}' is no ETag of ours", "Give the ETag that the last answer had.")
    return int(text or 0)


def _one(controller: Controller, number: str) -> str:
    found = [known for known in controller.mirror.tasks.items() if known.startswith(number)]
    return found[0] if len(found) == 1 else number


async def _begin(
    request: Request, response: Response, asked: Asked, key: str, kind: TaskKind, wish: Any
) -> Task:
    """A new task; the one that there is where the same was asked for with the same Idempotency-Key."""
    controller = controller_of(request)
    body = msgspec.to_builtins(wish)
    digest = hashlib.sha256(msgspec.json.encode([kind, body], order="deterministic")).hexdigest()
    number = str(uuid.uuid5(KEYED, f"{asked.by.name} {key}") if key else uuid.uuid4())
    made = Task(number, kind, asked.by.name, time.time(), body, digest)
    try:
        await controller.books.add(controller.mirror.tasks, number, made)
    except Conflict:
        made = controller.books.known(controller.mirror.tasks, number).value
        if made.digest != digest:
            raise _odd("the Idempotency-Key was used for something else", "Take a new key.") from None
    response.headers["location"] = f"/v1/tasks/{number}"
    return made


def _odd(why: str, todo: str) -> Refused:
    return Refused(what="the request was not understood", why=why, todo=todo, kind=Kind.USAGE)
