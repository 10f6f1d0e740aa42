"""The API's part about maintenance: foreseen, kept, begun, shown, forgotten. Tasks are paused and ended as all are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, gate, maintaining
from segue.controller.api_common import Key, Limit, Page, odd
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.controller.maintaining import Shown
from segue.model.maintenance import Foreseen, Maintenance, Order
from segue.model.rights import Verb
from segue.model.task import Task, TaskKind

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Maintains = Annotated[Asked, Depends(gate.asks(Verb.MAINTAIN))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class Begin:
    """Body of POST /v1/maintenances/{name}/start."""

    force: bool = False
    """Although something is missing: hosts that cannot begin are left out."""


@router.get("/maintenances")
async def maintenances(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[Shown]:
    """All by name, without their hosts."""
    controller = controller_of(request)
    every = controller.mirror.maintenances.values()
    return api_common.page(
        ((m.order.name, maintaining.shown(controller, m, hosts=False)) for m in every), limit, after
    )


@router.get("/maintenances/{name}")
async def maintenance(request: Request, name: str, _: Surveyor) -> Shown:
    """One, with how far each host is, what ran there, and what its guests noticed."""
    controller = controller_of(request)
    return maintaining.shown(controller, controller.books.known(controller.mirror.maintenances, name).value)


@router.post("/maintenances/plan")
async def foresee(request: Request, order: Order, _: Surveyor) -> Foreseen:
    """Batches, when it would end, and what is missing. Nothing is kept, nothing is begun."""
    return await maintaining.foresee(controller_of(request), order)


@router.put("/maintenances/{name}")
async def keep(request: Request, name: str, order: Order, asked: Maintains) -> Maintenance:
    """Kept until somebody begins it."""
    if order.name != name:
        raise odd(f"the order is called {order.name[:40]}", "Give it one name.")
    return await maintaining.keep(controller_of(request), order, asked.by.name)


@router.delete("/maintenances/{name}", status_code=204)
async def forget(request: Request, name: str, _: Maintains) -> None:
    """With its report."""
    await maintaining.forget(controller_of(request), name)


@router.post("/maintenances/{name}/start", status_code=202)
async def start(
    request: Request, response: Response, name: str, wish: Begin, asked: Maintains, key: Key = ""
) -> Task:
    """Begins it, now or when its window begins. Refused while something is missing."""
    controller = controller_of(request)
    table = controller.mirror.maintenances
    known = controller.books.known(table, name).value
    again = bool(known.task) and known.task == api_common.numbered(asked, key)
    if not again:
        maintaining.demand_unbegun(known)
    if not wish.force and not again:
        maintaining.demand_complete(name, await maintaining.foresee(controller, known.order))
    order = await maintaining.planned(controller, known.order)
    if order != known.order and not again:
        await controller.books.change(table, name, lambda kept: replace(kept, order=order))
    strategy = known.order.strategy
    body = {
        "maintenance": name,
        "parallel": strategy.parallel,
        "limits": msgspec.to_builtins(strategy.limits),
        "force": strategy.force,
    }
    task = await api_common.begin(request, response, asked, key, TaskKind.MAINTENANCE, body)
    await controller.books.change(table, name, lambda kept: replace(kept, task=kept.task or task.id))
    return task
