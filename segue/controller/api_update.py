"""The API's part about the QEMU in which guests run."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.controller import api_common, api_doc, gate, scoped, updating
from segue.controller.api_common import Key, Viewer
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.model.migration import Migration
from segue.model.rights import Verb
from segue.model.task import Task, TaskKind
from segue.wire.frames import UpdateGuest

Updates = Annotated[Asked, Depends(gate.asks(Verb.UPDATE))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.post("/guests/{name}/update", status_code=202)
async def update_guest(
    request: Request, response: Response, name: str, wish: UpdateGuest, asked: Updates, key: Key = ""
) -> Task:
    """Gives a running guest the QEMU that is installed on its host."""
    controller = controller_of(request)
    scoped.guest(controller, asked.by, name)
    _demand_may_move(asked, wish.or_migrate)
    body = {"guest": name, **msgspec.to_builtins(wish)}
    return await api_common.begin(request, response, asked, key, TaskKind.UPDATE, body)


@router.post("/hosts/{name}/update", status_code=202)
async def update_host(
    request: Request,
    response: Response,
    name: str,
    wish: updating.UpdateHost,
    asked: Updates,
    key: Key = "",
) -> Task:
    """The same for all guests of a host that run in another QEMU, and that the caller may see."""
    controller = controller_of(request)
    scoped.demand_hosts(controller, asked.by, [name])
    _demand_may_move(asked, wish.or_migrate)
    api_common.demand_parallel(wish.parallel)
    guests = updating.chosen(scoped.guests(controller, asked.by).values(), name, again=wish.again)
    body = updating.body(guests, name, wish)
    return await api_common.begin(request, response, asked, key, TaskKind.UPDATE, body)


@router.get("/migrations/{number}")
async def migration(request: Request, number: str, by: Viewer) -> Migration:
    """One migration by its id, as its source's agent reported it."""
    controller = controller_of(request)
    found = next((m for m in scoped.migrations(controller, by) if m.id == number), None)
    if found is None:
        raise controller.books.none(controller.mirror.migrations, number)
    return found


def _demand_may_move(asked: Asked, to: str) -> None:
    if to:
        gate.demand_more(asked, Verb.MOVE)
