"""The API's part for the fleet's id, and for hosts that belong to another fleet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from segue.adapters.http.access import Caller
from segue.controller import api_doc, gate, identity
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.model.membership import Identity, Strangers
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Adopter = Annotated[Asked, Depends(gate.asks(Verb.ADOPT))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class Succession:
    """Body of POST /v1/identity/succeeds. `fleet`: the whole id of the other one."""

    fleet: str


@router.get("/identity")
async def shown(request: Request, _: Surveyor) -> Strangers:
    """Which fleet this is, and hosts that came here lately and belong to another one."""
    return identity.seen(controller_of(request))


@router.post("/identity/succeeds", status_code=201)
async def succeed(request: Request, wish: Succession, _: Adopter) -> Identity:
    """This fleet takes the place of another one: its hosts are welcome here, and obey no controller of it any more."""
    return await identity.succeed(controller_of(request), wish.fleet)
