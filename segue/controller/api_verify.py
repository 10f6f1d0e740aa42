"""The API's part about hosts that are verified before they take load again."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, fleet, gate
from segue.controller.api_common import Key
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.controller.verifying import VerifyHost
from segue.errors import Kind, Refused
from segue.model.rights import Verb
from segue.model.task import Task, TaskKind
from segue.model.verification import Verification
from segue.policy import burn_in

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Vouches = Annotated[Asked, Depends(gate.asks(Verb.VOUCH))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)
BURN_MOST_S = 7 * 86_400.0


@router.post("/hosts/{name}/verify", status_code=202)
async def verify(
    request: Request, response: Response, name: str, wish: VerifyHost, asked: Vouches, key: Key = ""
) -> Task:
    """Doctor's checks, its health, a burn-in guest that moves away and back. Guests go there last meanwhile."""
    controller = controller_of(request)
    controller.books.known(controller.mirror.reports, name)
    if name not in fleet.linked(controller.mirror):
        raise _refused(name, "its agent is not connected", "Look at the host.")
    if not 0 <= wish.burn_s <= BURN_MOST_S:
        raise api_common.odd("a burn-in takes 0 s to a week", "Say how long it shall be.")
    if wish.memory_bytes <= burn_in.SPARE_BYTES:
        raise api_common.odd(
            f"a burn-in guest needs more than {burn_in.SPARE_BYTES >> 20} MiB", "Give it more memory."
        )
    if wish.to == name:
        raise api_common.odd("it cannot move away to where it is", "Name another host.")
    for task in controller.mirror.tasks.values():
        is_same = task.kind is TaskKind.VERIFY and task.wish["host"] == name
        if is_same and not task.ended and task.id != api_common.numbered(asked, key):
            raise _refused(name, f"task {task.id[:8]} does it already", f"segue task watch {task.id[:8]}")
    body = {"host": name, **msgspec.to_builtins(wish)}
    return await api_common.begin(request, response, asked, key, TaskKind.VERIFY, body)


@router.get("/hosts/{name}/verification")
async def verification(request: Request, name: str, _: Surveyor) -> Verification:
    """What came of its last one."""
    controller = controller_of(request)
    return controller.books.known(controller.mirror.verifications, name).value


def _refused(host: str, why: str, todo: str) -> Refused:
    return Refused(what=f"{host} is not verified", why=why, todo=todo, kind=Kind.CONFLICT)
