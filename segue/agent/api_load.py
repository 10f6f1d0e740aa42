"""The agent's API for the load of its host and guests, as it was sampled last."""

from __future__ import annotations

from fastapi import APIRouter, Request

from segue.adapters.http import access
from segue.agent.app import agent_of
from segue.model.load import HostLoad

router = APIRouter(prefix="/v1")


@router.get("/load")
async def load(request: Request) -> HostLoad | None:
    """What this host and its guests use; null in the first moments of an agent."""
    access.only(request, "operator")
    return agent_of(request).loads.report()
