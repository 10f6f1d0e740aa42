"""The API's part about guests: made, moved, started, stopped; where they would go; their migrations."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, fleet, gate, scoped
from segue.controller.api_common import Key, Limit, Page, Viewer
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.model.migration import Limits, Migration
from segue.model.plan import Choice, NoHost
from segue.model.rights import Verb
from segue.model.task import Task, TaskKind
from segue.policy import placement, rights
from segue.wire.frames import CreateGuest, Shown

Planner = Annotated[Caller, Depends(gate.looks(Verb.PLAN))]
Creates = Annotated[Asked, Depends(gate.asks(Verb.CREATE))]
Moves = Annotated[Asked, Depends(gate.asks(Verb.MOVE))]
Powers = Annotated[Asked, Depends(gate.asks(Verb.POWER))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class NewGuest(CreateGuest):
    """Body of POST /v1/guests: as for an agent, and its labels."""

    labels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class GuestShown(Shown):
    """A guest as its owner has it, with its labels."""

    labels: dict[str, str] = field(default_factory=dict)


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


@router.get("/guests")
async def guests(
    request: Request, by: Viewer, limit: Limit = 100, after: str = "", selector: str = ""
) -> Page[GuestShown]:
    """Guests by name, each as its owner has it. selector: `team=web`."""
    found = scoped.guests(controller_of(request), by)
    wanted = api_common.selector(selector)
    shown = ((name, _shown(request, guest)) for name, guest in found.items())
    return api_common.page((pair for pair in shown if wanted.items() <= pair[1].labels.items()), limit, after)


@router.get("/guests/{name}")
async def guest(request: Request, name: str, by: Viewer) -> GuestShown:
    """One guest."""
    return _shown(request, scoped.guest(controller_of(request), by, name))


@router.post("/guests", status_code=202)
async def create_guest(
    request: Request, response: Response, wish: NewGuest, asked: Creates, key: Key = ""
) -> Task:
    """A new guest on the host that suits it best. It has the labels of the caller's scope."""
    labels = rights.created(wish.labels, asked.by.scope)
    if labels is None:
        raise gate.refused(f"{asked.by.name} makes guests that are {rights.shown(asked.by.scope)}, no others")
    return await api_common.begin(
        request, response, asked, key, TaskKind.CREATE, replace(wish, labels=labels)
    )


@router.post("/guests/{name}/migrations", status_code=202)
async def move_guest(
    request: Request, response: Response, name: str, wish: MoveGuest, asked: Moves, key: Key = ""
) -> Task:
    """Moves a guest, to the host that suits it best where none is named."""
    scoped.guest(controller_of(request), asked.by, name)
    body = {"guest": name, **msgspec.to_builtins(wish)}
    return await api_common.begin(request, response, asked, key, TaskKind.MOVE, body)


@router.post("/guests/{name}/start", status_code=202)
async def start_guest(request: Request, response: Response, name: str, asked: Powers, key: Key = "") -> Task:
    """Starts it where it is."""
    scoped.guest(controller_of(request), asked.by, name)
    body = {"guest": name, "action": "start"}
    return await api_common.begin(request, response, asked, key, TaskKind.POWER, body)


@router.post("/guests/{name}/stop", status_code=202)
async def stop_guest(request: Request, response: Response, name: str, asked: Powers, key: Key = "") -> Task:
    """Shuts it down."""
    scoped.guest(controller_of(request), asked.by, name)
    body = {"guest": name, "action": "stop"}
    return await api_common.begin(request, response, asked, key, TaskKind.POWER, body)


@router.get("/migrations")
async def migrations(request: Request, by: Viewer, limit: Limit = 100, after: str = "") -> Page[Migration]:
    """Migrations by id, as the sources' agents reported them."""
    found = scoped.migrations(controller_of(request), by)
    return api_common.page(((m.id, m) for m in found), limit, after)


@router.post("/placements")
async def place(request: Request, wish: Place, by: Planner) -> Choice | NoHost:
    """Where a guest would go now, and for every other host why not there. Nothing is begun."""
    controller = controller_of(request)
    shown = scoped.guest(controller, by, wish.guest)
    seen = await fleet.looked(controller.mirror, controller.loads)
    guest = next(guest for guest in seen.guests if guest.name == shown.name)
    return await asyncio.to_thread(placement.place, guest, seen)


def _shown(request: Request, guest: Shown) -> GuestShown:
    mirror = controller_of(request).mirror
    labels = fleet.guest_labels(mirror, guest.name)
    said = {**vars(guest), "reason": fleet.unheard(mirror, guest.host) or guest.reason}
    return GuestShown(**said, labels=labels)
