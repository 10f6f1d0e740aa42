"""The agent's API of burn-in guests: what one has said on this host."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from segue.adapters.http import access
from segue.agent import console
from segue.agent.app import agent_of
from segue.model.verification import Said
from segue.policy import burn_in


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])


@router.get("/guests/{name}/burn-in")
async def said(request: Request, name: str) -> Said:
    """How often it has looked at its own memory here, and what it found."""
    agent = agent_of(request)
    text = console.log_text(agent.services, agent.guests.by_name(name).guest_here())
    return burn_in.said(text.decode(errors="replace"))
