"""The agent's API for people and controllers: guests, migrations, events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from fastapi import APIRouter, Depends, Request, Response, WebSocket
from fastapi.responses import StreamingResponse

from segue.adapters.http import access
from segue.adapters.store.disks import KeptDisk
from segue.agent import console, disks, doctor, images
from segue.agent.app import Agent, agent_of
from segue.model import trace
from segue.model.host import HostFacts
from segue.model.migration import Forecast, Migration
from segue.model.observation import Observation
from segue.wire.frames import CreateGuest, MigrateGuest, Shown

KEEPALIVE_S = 15.0


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])
open_router = APIRouter(prefix="/v1")


@dataclass(frozen=True)
class StopGuest:
    """Body of POST .../stop: how long the guest may take to shut down; 0 ends it at once."""

    within_s: float = 30.0


@dataclass(frozen=True)
class Recover:
    """Body of POST .../recover: a host that has no power, and who says so. highest: the highest epoch that whoever
    asks has ever given away of this guest after a fencing. dark: others that have no power, and are not asked."""

    fenced: str
    proof: str = "the operator said so"
    highest: int = 0
    dark: tuple[str, ...] = ()


@open_router.get("/host")
async def host(request: Request) -> HostFacts:
    """What this host can do."""
    access.only(request, "operator", "host")
    return agent_of(request).guests.facts()


@router.get("/doctor")
async def examine(request: Request) -> doctor.Examined:
    """What this host lacks; what is tried for that is taken away again."""
    agent = agent_of(request)
    found = await doctor.examine(agent.services, agent.guests)
    agent.services.figures.examined(found)
    return found


@router.get("/disks/kept")
async def kept_disks(request: Request) -> list[KeptDisk]:
    """Disks of guests that moved away, and when each is deleted."""
    return agent_of(request).services.journal.disks.kept()


@router.delete("/peers/{name}", status_code=204)
async def forget_peer(request: Request, name: str) -> None:
    """Another installation may answer under this name from now on."""
    agent_of(request).services.journal.forget_peer(name)


@router.get("/guests")
async def guests(request: Request) -> list[Shown]:
    """Every guest that has something on this host."""
    return agent_of(request).guests.shown()


@router.post("/guests", status_code=201)
async def create(request: Request, wish: CreateGuest) -> Shown:
    """A new guest from an image of this host."""
    agent = agent_of(request)
    images.check(wish)
    agent.guests.demand_free(wish.name)
    guest = await images.specify(agent.services, wish)
    try:
        await agent.guests.create(guest, start=wish.start)
    except BaseException:
        disks.remove(agent.services.config, guest)
        raise
    return _shown(agent, guest.name)


@router.get("/guests/{name}")
async def one_guest(request: Request, name: str) -> Shown:
    """One guest."""
    return _shown(agent_of(request), name)


@router.post("/guests/{name}/start")
async def start(request: Request, name: str) -> Shown:
    """Starts a guest from its disk."""
    agent = agent_of(request)
    await agent.guests.start(agent.guests.by_name(name))
    return _shown(agent, name)


@router.post("/guests/{name}/stop")
async def stop(request: Request, name: str, body: StopGuest) -> Shown:
    """Shuts a guest down."""
    agent = agent_of(request)
    await agent.guests.by_name(name).stop(body.within_s)
    return _shown(agent, name)


@router.post("/guests/{name}/recover")
async def recover(request: Request, name: str, body: Recover) -> Shown:
    """Takes a guest back from a host that has no power any more."""
    agent = agent_of(request)
    keeper = agent.guests.by_name(name)
    await agent.guests.recover(keeper, body.fenced, body.proof, body.highest, body.dark)
    return _shown(agent, name)


@router.delete("/guests/{name}", status_code=204)
async def delete(request: Request, name: str) -> None:
    """Deletes a stopped guest and its disks."""
    agent = agent_of(request)
    keeper = agent.guests.by_name(name)
    spec = keeper.guest_here()
    await agent.guests.delete(keeper)
    disks.remove(agent.services.config, spec)
    if spec.is_app:
        agent.services.apps.remove_files(spec)


@router.get("/guests/{name}/console")
async def console_log(request: Request, name: str) -> Response:
    """What the guest wrote to its console on this host."""
    agent = agent_of(request)
    text = console.log_text(agent.services, agent.guests.by_name(name).guest_here())
    return Response(text, media_type="text/plain; charset=utf-8")


@open_router.websocket("/guests/{name}/console/live")
async def console_live(socket: WebSocket, name: str) -> None:
    """The guest's console, both ways."""
    access.only(socket, "operator")
    agent = agent_of(socket)
    await console.serve(agent.services, agent.guests.by_name(name).guest_here(), socket)


@router.post("/guests/{name}/forecast")
async def forecast(request: Request, name: str, wish: MigrateGuest) -> Forecast:
    """All checks of a migration and its forecast; nothing is changed."""
    agent = agent_of(request)
    return await agent.migrations.beforehand.foresee(agent.guests.by_name(name), wish.to, wish.limits)


@router.post("/guests/{name}/migrations", status_code=202)
async def migrate(request: Request, name: str, wish: MigrateGuest) -> Migration:
    """Starts a migration; follow it by its id."""
    agent = agent_of(request)
    keeper = agent.guests.by_name(name)
    traceparent = request.headers.get(trace.HEADER, "")
    if wish.cold:
        return await agent.migrations.begin_cold(keeper, wish.to, traceparent)
    return await agent.migrations.begin(
        keeper, wish.to, wish.limits, force=wish.force, traceparent=traceparent
    )


@router.get("/migrations")
async def migrations(request: Request) -> list[Migration]:
    """Migrations whose source was this host, newest first."""
    return agent_of(request).migrations.records()


@router.get("/migrations/{number}")
async def migration(request: Request, number: str) -> Migration:
    """One migration, by its id or the beginning of it."""
    return agent_of(request).migrations.record(number)


@router.post("/migrations/{number}/cancel", status_code=202)
async def cancel(request: Request, number: str) -> Migration:
    """Takes a migration back; possible until the handoff."""
    agent = agent_of(request)
    agent.migrations.cancel(agent.migrations.record(number))
    return agent.migrations.record(number)


@router.post("/migrations/{number}/observations", status_code=201)
async def observe(request: Request, number: str, observation: Observation) -> Migration:
    """Keeps what a client's probe saw beside what the hosts measured."""
    agent = agent_of(request)
    return agent.migrations.observe(agent.migrations.record(number), observation)


@router.get("/events")
async def events(request: Request, since: int = 0) -> StreamingResponse:
    """Server-sent events; `Last-Event-ID` or `since` resumes after that number."""
    last = int(request.headers.get("last-event-id", since))
    agent = agent_of(request)

    async def lines() -> AsyncIterator[bytes]:
        yield b": segue\n\n"
        async for notice in agent.services.notices.listen(last, KEEPALIVE_S):
            if notice is None:
                yield b": still here\n\n"
                continue
            body = msgspec.json.encode(notice)
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (notice.seq, notice.type.encode(), body)

    return StreamingResponse(lines(), media_type="text/event-stream")


def _shown(agent: Agent, name: str) -> Shown:
    shown = agent.guests.by_name(name).shown()
    assert shown is not None
    return shown
