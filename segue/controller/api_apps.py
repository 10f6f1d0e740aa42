"""The controller's part about applications: a new one on the host that suits it best. The rest is as for any guest."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.controller import api_common, api_doc, gate, single_app
from segue.controller.api_common import Key
from segue.controller.gate import Asked
from segue.model.rights import Verb
from segue.model.task import Task, TaskKind
from segue.policy import rights
from segue.wire.apps import NewApp

Creates = Annotated[Asked, Depends(gate.asks(Verb.CREATE))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.post("/apps", status_code=202)
async def run_app(request: Request, response: Response, wish: NewApp, asked: Creates, key: Key = "") -> Task:
    """A new application where it suits best; that host takes its image from the registry where it lacks it."""
    labels = rights.created(wish.labels, asked.by.scope)
    if labels is None:
        raise gate.refused(f"{asked.by.name} makes guests that are {rights.shown(asked.by.scope)}, no others")
    body = {**msgspec.to_builtins(replace(wish, labels=labels)), single_app.MARK: True}
    return await api_common.begin(request, response, asked, key, TaskKind.CREATE, body)
