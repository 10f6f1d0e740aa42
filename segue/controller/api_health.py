"""The controller's API of all hosts' health: what each said, and what the policy answers to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from segue.adapters.http.access import Caller
from segue.controller import api_doc, gate, health
from segue.controller.app import controller_of
from segue.controller.health import FleetHealth
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@router.get("/health")
async def fleet_health(request: Request, _: Surveyor) -> FleetHealth:
    """The reports of all hosts; taints, evacuations, storms, and which failing hosts wait and why."""
    return health.seen(controller_of(request))
