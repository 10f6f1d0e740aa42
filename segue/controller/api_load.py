"""The API's part for the load of hosts and guests; only the controller that leads knows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, gate
from segue.controller.api_common import Limit, Page
from segue.controller.app import controller_of
from segue.model.load import HostLoad
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.get("/load")
async def load(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[HostLoad]:
    """What each host and its guests use, by the host's name; hosts that told nothing lately are left out."""
    loads = controller_of(request).loads
    loads.demand()
    return api_common.page(((host.name, host) for host in loads.hosts()), limit, after)
