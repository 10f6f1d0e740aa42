"""The API's part for the load of hosts and guests; only the controller that leads knows it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from segue.adapters.http.access import Caller
from segue.controller import api, gate
from segue.controller.app import controller_of
from segue.model.load import HostLoad

Viewer = Annotated[Caller, Depends(gate.only("viewer"))]
router = APIRouter(prefix="/v1")


@router.get("/load")
async def load(request: Request, _: Viewer, limit: api.Limit = 100, after: str = "") -> api.Page[HostLoad]:
    """What each host and its guests use, by the host's name; hosts that told nothing lately are left out."""
    loads = controller_of(request).loads
    loads.demand()
    return api.page(((host.name, host) for host in loads.hosts()), limit, after)
