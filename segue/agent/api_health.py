"""The agent's API of its host's health: verdicts with their reasons, and a person's word that something was mended."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request

from segue.adapters.http import access
from segue.agent.app import agent_of
from segue.model.answer import Report
from segue.model.health import Health
from segue.policy import answer


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])


@dataclass(frozen=True)
class Rectified:
    """Body of POST /health/rectified: the part, as `memory/DIMM_A1`."""

    part: str


@router.get("/health")
async def health(request: Request) -> Health:
    """The last verdicts; nothing is looked at for the question."""
    return agent_of(request).health.shown()


@router.get("/health/report")
async def report(request: Request) -> Report:
    """The same in one line, as a controller asks for it every few seconds."""
    return answer.report(agent_of(request).health.now)


@router.post("/health/rectified")
async def rectified(request: Request, body: Rectified) -> Health:
    """What was against the part is forgotten; it is looked at anew."""
    return await agent_of(request).health.rectified(body.part)
