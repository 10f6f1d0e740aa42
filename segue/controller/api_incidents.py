"""The API's part about incidents: what broke in the fleet, what shows it, and what was done."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, gate
from segue.controller.api_common import Limit, Page
from segue.controller.app import controller_of
from segue.model.incident import Incident
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.get("/incidents")
async def incidents(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[Incident]:
    """All that the store keeps, by id, those of hosts that are gone with them."""
    found = controller_of(request).mirror.incidents.values()
    return api_common.page(((one.id, one) for one in found), limit, after)


@router.get("/incidents/{number}")
async def incident(request: Request, number: str, _: Surveyor) -> Incident:
    """One, by its id or the beginning of it."""
    controller = controller_of(request)
    table = controller.mirror.incidents
    found = [kept.value for known, kept in table.items().items() if known.startswith(number)]
    if len(found) != 1:
        raise controller.books.none(table, number)
    return found[0]
