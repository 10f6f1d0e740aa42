"""The agent's API for leases: a controller says by which charter guests run here, and to whom nothing is granted; other
hosts ask for theirs."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http import access
from segue.agent.app import agent_of
from segue.model.lease import HeldCharter, LeaseFacts, Terms


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])
peer_router = APIRouter(prefix="/v1/peer", include_in_schema=False)


@dataclass(frozen=True)
class Offer:
    """Body of PUT /v1/lease. voters: all hosts of the fleet, this one with them."""

    number: int
    voters: tuple[str, ...]
    terms: Terms


@dataclass(frozen=True)
class Denied:
    """A host that is granted nothing, and the incident for which."""

    host: str
    incident: str


@router.get("/lease")
async def lease(request: Request) -> LeaseFacts | None:
    """Of this host."""
    return agent_of(request).services.lease.facts()


@router.put("/lease")
async def accept(request: Request, body: Offer) -> LeaseFacts | None:
    """Guests run here by this charter from now on. Raises Refused where there is no guard, or no majority now."""
    services = agent_of(request).services
    await services.lease.accept(HeldCharter(body.number, body.voters, body.terms, ""))
    return services.lease.facts()


@router.delete("/lease")
async def drop(request: Request) -> None:
    """They run without one again. Only for a controller that does not count on it any more."""
    await agent_of(request).services.lease.drop()


@router.put("/denials/{host}")
async def deny(request: Request, host: str, incident: str) -> Denied:
    """This host grants it nothing from now on; durable when it is answered."""
    agent_of(request).services.lease.deny(host, incident)
    return Denied(host, incident)


@router.delete("/denials/{host}")
async def allow(request: Request, host: str, incident: str) -> None:
    """If it was denied for that incident."""
    agent_of(request).services.lease.allow(host, incident)


@peer_router.post("/lease")
async def granted(request: Request) -> Response:
    """Whether the caller's guests may run on, as far as it goes by this host."""
    caller = access.only(request, "host").name
    is_granted = caller not in agent_of(request).services.lease.denials()
    return Response(msgspec.json.encode(is_granted), media_type="application/json")
