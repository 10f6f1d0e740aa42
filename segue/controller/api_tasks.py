"""The API's part about long work: where it stands, and how it is paused, resumed and cancelled."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, gate, scoped
from segue.controller.api_common import Limit, Page, Viewer
from segue.controller.app import Controller, controller_of
from segue.controller.gate import Asked
from segue.controller.mirror import Kept
from segue.model.rights import Verb
from segue.model.task import Task, Wish, after

Steers = Annotated[Asked, Depends(gate.asks(Verb.STEER))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.get("/tasks")
async def tasks(request: Request, by: Viewer, limit: Limit = 100, after: str = "") -> Page[Task]:
    """Tasks by id."""
    controller = controller_of(request)
    found = (t for t in controller.mirror.tasks.values() if scoped.sees_task(controller, by, t))
    return api_common.page(((task.id, task) for task in found), limit, after)


@router.get("/tasks/{number}")
async def task(request: Request, response: Response, number: str, by: Viewer) -> Task:
    """One task, by its id or the beginning of it."""
    kept = _one(controller_of(request), by, number)
    response.headers["etag"] = f'"{kept.entry.revision}"'
    return kept.value


@router.post("/tasks/{number}/{wish}", status_code=202)
async def steer_task(request: Request, number: str, wish: Wish, asked: Steers) -> Task:
    """Pauses a drain, resumes it, or cancels a task: what has begun and can be taken back is."""
    controller = controller_of(request)
    kept = _one(controller, asked.by, number)
    return await controller.books.change(
        controller.mirror.tasks, kept.value.id, lambda known: after(known, wish)
    )


def _one(controller: Controller, by: Caller, number: str) -> Kept[Task]:
    """Raises Refused where there is none, or none that the caller may see."""
    table = controller.mirror.tasks
    found = [kept for known, kept in table.items().items() if known.startswith(number)]
    seen = [kept for kept in found if scoped.sees_task(controller, by, kept.value)]
    if len(seen) != 1:
        raise controller.books.none(table, number)
    return seen[0]
