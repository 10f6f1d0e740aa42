"""The controller's API of all hosts' health: what each said, and what the policy answers to it."""

from __future__ import annotations

from fastapi import APIRouter, Request

from segue.controller import health
from segue.controller.api import Viewer
from segue.controller.app import controller_of
from segue.controller.health import FleetHealth

router = APIRouter(prefix="/v1")


@router.get("/health")
async def fleet_health(request: Request, _: Viewer) -> FleetHealth:
    """The reports of all hosts; taints, evacuations, storms, and which failing hosts wait and why."""
    return health.seen(controller_of(request))
