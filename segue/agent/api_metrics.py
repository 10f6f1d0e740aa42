"""The agent's page for Prometheus: for people who may look, and for nobody else."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from segue.adapters.http import access, metrics_page
from segue.agent import figures
from segue.agent.app import agent_of

router = APIRouter()


@router.get(metrics_page.PATH)
async def metrics(request: Request) -> Response:
    """All figures of this host, as text for Prometheus."""
    access.only(request, "viewer")
    return await shown(request)


async def shown(request: Request) -> Response:
    """The same, for the listener that the operator opened to everybody who reaches it."""
    agent = agent_of(request)
    await figures.calm(agent)
    return metrics_page.page(agent.services.figures.meter, request)
