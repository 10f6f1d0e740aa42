"""The agent's API for the QEMU in which a guest runs."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from segue.adapters.http import access
from segue.agent import updates
from segue.agent.app import agent_of
from segue.model import trace
from segue.model.migration import Migration
from segue.wire.frames import UpdateGuest


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])


@router.post("/guests/{name}/update", status_code=202)
async def update(request: Request, name: str, wish: UpdateGuest) -> Migration:
    """Gives a running guest the installed QEMU; follow it by the migration's id."""
    agent = agent_of(request)
    traceparent = request.headers.get(trace.HEADER, "")
    return await updates.begin(agent, agent.guests.by_name(name), wish, traceparent)
