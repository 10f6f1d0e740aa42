"""The agent's API for the agents of other hosts; raw bodies, because some of it is in the blackout."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response

from segue.adapters import clock, system
from segue.adapters.http import access
from segue.adapters.net import speed
from segue.adapters.storage import files
from segue.agent import acquaintance, arrivals, claims, target, verification
from segue.agent.app import Agent, agent_of
from segue.agent.keeper import Keeper
from segue.errors import Kind, Refused
from segue.model.handoff import Phase
from segue.model.integrity import Blocks
from segue.model.landing import Placement
from segue.model.notice import Arrival
from segue.model.storage import DiskFile, DiskProgress, Layer, Look
from segue.wire.messages import Delivery, unpack

T = TypeVar("T")

router = APIRouter(prefix="/v1/peer", include_in_schema=False)
urgent_router = APIRouter(prefix="/v1/peer", include_in_schema=False)
"""Looked at before all others: a guest stands meanwhile (our lab: 0.3 ms, not 0.8)."""
CARE_S_MAX = 30.0
BODY_BYTES_MAX = 16 << 20


@router.put("/incoming/{uuid}")
async def incoming(request: Request, uuid: str) -> Response:
    """An empty paused copy for a guest that comes from the caller."""
    sender = access.only(request, "host").name
    placement = await _body(request, Placement)
    agent = agent_of(request)
    called_from = request.client.host if request.client else ""
    agent.services.traces.taking_in(placement)
    landing = await target.place(agent.services, agent.guests, placement, sender, called_from)
    agent.services.traces.taken_in(placement)
    return _json(landing)


@router.put("/storage/{uuid}")
async def storage_in(request: Request, uuid: str) -> Response:
    """Empty disks for a guest that comes from the caller."""
    sender = access.only(request, "host").name
    placement = await _body(request, Placement)
    agent = agent_of(request)
    agent.services.traces.taking_in(placement)
    return _json(await target.place_storage(agent.services, agent.guests, placement, sender))


@router.post("/storage/{uuid}/{migration}/layers")
async def layers_sent(request: Request, uuid: str, migration: str) -> Response:
    """What lies below the disks has arrived."""
    sender = access.only(request, "host").name
    agent = agent_of(request)
    layers = await _body(request, list[Layer])
    await target.layers_sent(agent.services, _coming(agent, uuid, migration, sender), tuple(layers))
    return _json(None)


@router.get("/storage/{uuid}/pulled")
async def pulled(request: Request, uuid: str) -> Response:
    """How much of the disks that the caller lends is here, and whether all of it is."""
    access.only(request, "host")
    agent = agent_of(request)
    keeper = agent.guests.by_uuid(uuid)
    if keeper.guest is None:
        return _json(
            (DiskProgress(), True)
        )  # Deleted meanwhile, or it has moved on: nobody reads them any more.
    return _json(await agent.services.pulling.progress(keeper.guest, keeper.machine))


@urgent_router.post("/storage/{uuid}/{migration}/close")
async def close_storage(request: Request, uuid: str, migration: str) -> Response:
    """The caller has written everything."""
    sender = access.only(request, "host").name
    agent = agent_of(request)
    await agent.services.intake.close(_coming(agent, uuid, migration, sender).guest_here())
    return _json(None)


@router.post("/storage/{uuid}/{migration}/digest")
async def digest_storage(request: Request, uuid: str, migration: str) -> Response:
    """What the disks hold that the caller has written; they are closed."""
    sender = access.only(request, "host").name
    agent = agent_of(request)
    disks = await _body(request, list[DiskFile])
    guest = _coming(agent, uuid, migration, sender).guest_here()
    agent.services.failpoints.hit("before disk digest")
    return _json(await verification.digest_disks(agent.services.intake.written(guest, disks)))


@urgent_router.post("/messages/{uuid}")
async def messages(request: Request, uuid: str) -> Response:
    """A word of the handoff."""
    sender = access.only(request, "host").name
    delivery = await _body(request, Delivery)
    keeper = agent_of(request).guests.by_uuid(uuid)
    answer = Delivery()
    for frame in delivery.messages:
        answer = await keeper.hear(unpack(frame), sender, delivery.resumed_at_s)
    await agent_of(request).guests.let_go(keeper)
    return _json(answer)


@router.post("/settled/{uuid}/{migration}")
async def settled(request: Request, uuid: str, migration: str) -> Response:
    """The caller forwards nothing more."""
    access.only(request, "host")
    agent = agent_of(request)
    keeper = agent.guests.by_uuid(uuid)
    await target.settled(agent.services, keeper, migration)
    agent.services.traces.settled(keeper, migration)
    return _json(None)


@router.post("/digest/{uuid}")
async def digest(request: Request, uuid: str) -> Response:
    """What parts of the complete copy here hold, so that the caller can compare them with its own."""
    sender = access.only(request, "host").name
    agent = agent_of(request)
    blocks = await _body(request, Blocks)
    keeper = agent.guests.by_uuid(uuid)
    return _json(await verification.answer(agent.services, keeper, blocks, sender))


@router.post("/arrived/{uuid}")
async def arrived(request: Request, uuid: str) -> Response:
    """The guest runs here, and the caller says how it came."""
    access.only(request, "host")
    agent = agent_of(request)
    arrival = await _body(request, Arrival)
    agent.services.care.begin(agent.guests.by_uuid(uuid), arrival)
    return _json(None)


@router.get("/care/{uuid}/{migration}")
async def care(request: Request, uuid: str, migration: str, within_s: float = 0.0) -> Response:
    """What was done for a guest that arrived here."""
    access.only(request, "host")
    agent = agent_of(request)
    return _json(await agent.services.care.ended(uuid, migration, min(within_s, CARE_S_MAX)))


@router.post("/networks/{network}")
async def lead(request: Request, network: str) -> Response:
    """These cards are on the caller's host now."""
    sender = access.only(request, "host").name
    macs = await _body(request, list[str])
    await agent_of(request).services.networks.guest_is_at(network, macs[:100], sender)
    return _json(None)


@router.post("/flows/{uuid}/{migration}")
async def flows(request: Request, uuid: str, migration: str) -> Response:
    """Connections of a guest that comes from the caller."""
    sender = access.only(request, "host").name
    agent = agent_of(request)
    keeper = agent.guests.by_uuid(uuid)
    entries = await _body(request, list[bytes])
    await target.take_in_flows(agent.services, keeper, migration, sender, entries)
    return _json(None)


@router.get("/arrivals/{uuid}/{migration}")
async def arrival(request: Request, uuid: str, migration: str, loaded_within_s: float = 0.0) -> Response:
    """How much of a guest is here that may run before its memory."""
    access.only(request, "host")
    keeper = agent_of(request).guests.by_uuid(uuid)
    return _json(await arrivals.arrival(keeper, migration, loaded_within_s))


@router.post("/arrivals/{uuid}/{migration}/reopen")
async def reopen(request: Request, uuid: str, migration: str) -> Response:
    """Where the caller may connect again to send the rest of a guest's memory."""
    access.only(request, "host")
    agent = agent_of(request)
    called_from = request.client.host if request.client else ""
    keeper = agent.guests.by_uuid(uuid)
    return _json(await arrivals.reopen(agent.services, keeper, migration, called_from))


@router.post("/arrivals/{uuid}/{migration}/lost")
async def memory_lost(request: Request, uuid: str, migration: str) -> Response:
    """The caller has lost its half of a guest's memory."""
    sender = access.only(request, "host").name
    keeper = agent_of(request).guests.by_uuid(uuid)
    return _json(await arrivals.memory_lost(keeper, migration, sender))


@router.get("/claims/{uuid}")
async def claim(request: Request, uuid: str, mine: int = 0, known: str = "") -> Response:
    """What this host has of a guest: the epoch it owns, and the highest that it could still lay claim to."""
    asker, agent = access.only(request, "host").name, agent_of(request)
    found = await claims.answer(agent.services, agent.guests.by_uuid(uuid), mine, asker)
    return _json(replace(found, hosts=acquaintance.unknown_to(agent.services, asker, known)))


@router.post("/look")
async def look(request: Request) -> Response:
    """What we see of the caller's files."""
    access.only(request, "host")
    wish = await _body(request, Look)
    whole = set(wish.whole)
    paths = dict.fromkeys([*wish.paths, *wish.whole][:1000])
    seen = {p: await asyncio.to_thread(files.look, p, wish.marker, whole=p in whole) for p in paths}
    return _json(seen)


@router.post("/storage")
async def storage(request: Request) -> Response:
    """For each path a mark of the file that we see there."""
    access.only(request, "host")
    paths = await _body(request, list[str])
    return _json({path: system.storage_mark(path) for path in paths[:1000]})


@router.get("/clock")
async def wall_clock(request: Request, coming: str = "", migration: str = "") -> Response:
    """Our wall clock. coming: the guest that the caller hands over soon; an older agent reads over it."""
    sender = access.only(request, "host").name
    if coming:
        target.go_first(agent_of(request).guests.by_uuid(coming), migration, sender)
    return _json(clock.wall_s())


@router.post("/speed")
async def measure_speed(request: Request) -> Response:
    """Listens for one stream of zeros, so that the caller learns how fast the path is."""
    access.only(request, "host")
    agent = agent_of(request)
    opening, serving = await speed.open_sink(agent.services.config.inlet)
    _sinks.add(serving)
    serving.add_done_callback(_sinks.discard)
    return _json(opening)


_sinks: set[asyncio.Task[None]] = set()


def _coming(agent: Agent, uuid: str, migration: str, sender: str) -> Keeper:
    """The keeper of a guest that comes in from the caller by this migration."""
    keeper = agent.guests.by_uuid(uuid)
    token = keeper.token
    if token.phase is not Phase.INCOMING or token.migration != migration or token.peer != sender:
        raise Refused(
            what="the disks are left alone",
            why=f"the guest does not come in from {sender} by this migration: it is {token.phase} here",
            todo="Nothing: the migration that asked is over.",
            kind=Kind.CONFLICT,
        )
    return keeper


async def _body(request: Request, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except msgspec.MsgspecError as error:
        raise Refused(
            what="a peer's request was not understood",
            why=str(error),
            todo="Run the same version of segue on both hosts.",
            kind=Kind.USAGE,
        ) from error


def _json(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
