"""The agent's API for a controller that has lost a host: what is seen of it, who has its guests, who takes over.

Nothing here starts a guest by itself: to take over and to start are two calls, with the controller's last look at the
dead host's power between them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Depends, Request

from segue.adapters import sight
from segue.adapters.http import access
from segue.agent.app import Agent, agent_of
from segue.errors import Kind, Refused
from segue.model.fencing import Sight
from segue.model.guest import Guest
from segue.model.handoff import Copy, Phase, TakeOver
from segue.policy import handoff, takeover
from segue.wire.frames import Shown


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])


@dataclass(frozen=True)
class Seen:
    """What this host sees of another."""

    sight: Sight


@dataclass(frozen=True)
class Part:
    """What this host has of a guest. claim: the highest epoch at which it runs it, or could."""

    phase: Phase
    peer: str
    claim: int
    name: str
    runs: bool


@dataclass(frozen=True)
class Inherit:
    """Body of PUT /v1/successions/{uuid}."""

    guest: Guest
    owner: str
    proof: str
    epoch: int


@dataclass(frozen=True)
class StartHeir:
    """Body of POST .../start: only as the owner of that epoch."""

    epoch: int


@dataclass(frozen=True)
class Heard:
    """Body of PUT .../heard: for the owner of that epoch. dark: hosts that are proved to have no power."""

    epoch: int
    dark: tuple[str, ...] = ()


@router.get("/sights/{host}")
async def sight_of(request: Request, host: str) -> Seen:
    """Whether that host's kernel answers here, or else writes to the storage that both see. Raises Refused for a host
    that nobody told of."""
    services = agent_of(request).services
    writing = asyncio.create_task(services.beats.moves(host))
    seen = await sight.look(services.peer(host).url)
    if seen is Sight.ANSWERS:
        writing.cancel()
        return Seen(seen)
    return Seen(Sight.STORAGE if await writing else seen)


@router.get("/successions/{uuid}")
async def part(request: Request, uuid: str) -> Part:
    """From the journal of this host."""
    keeper = agent_of(request).guests.by_uuid(uuid)
    name = keeper.guest.name if keeper.guest else ""
    token, copy = keeper.token, keeper.copy()
    return Part(token.phase, token.peer, handoff.claim(token, copy), name, copy is Copy.RUNNING)


@router.put("/successions/{uuid}")
async def inherit(request: Request, uuid: str, body: Inherit) -> Shown:
    """This host owns the guest from now on. It does not start it. Safe to repeat."""
    agent = agent_of(request)
    if body.guest.uuid != uuid:
        raise _no_heir(body.guest, "the request speaks of two guests", "Ask again.")
    _demand_disks(agent, body.guest)
    await agent.guests.inherit(body.guest, TakeOver(body.owner, body.proof, body.epoch))
    return _shown(agent, body.guest.name)


@router.post("/successions/{uuid}/start")
async def start(request: Request, uuid: str, body: StartHeir) -> Shown:
    """From its disks, without a question to the dead. Running already is no error."""
    agent = agent_of(request)
    keeper = agent.guests.by_uuid(uuid)
    guest = keeper.guest_here()
    if keeper.token.phase is not Phase.OWNER or keeper.token.epoch != body.epoch:
        raise _no_heir(
            guest, f"it is {keeper.token.phase} here at epoch {keeper.token.epoch}", "Look where it is."
        )
    if keeper.body is None:
        await keeper.start(peers_highest=0)
    return _shown(agent, guest.name)


@router.put("/successions/{uuid}/heard")
async def heard(request: Request, uuid: str, body: Heard) -> Shown:
    """If it is to start here, it need not wait for those hosts; all others are asked. It holds for a moment only."""
    agent = agent_of(request)
    keeper = agent.guests.by_uuid(uuid)
    guest = keeper.guest_here()
    if handoff.owned(keeper.token) != body.epoch or keeper.token.phase is not Phase.OWNER:
        why = f"it is {keeper.token.phase} here at epoch {keeper.token.epoch}"
        raise _no_heir(guest, why, "Look where it is.")
    agent.guests.others.heard(keeper, body.dark)
    return _shown(agent, guest.name)


def _demand_disks(agent: Agent, guest: Guest) -> None:
    """Raises Refused for disks and volumes that are not on shared storage: they died with the host, or are other files
    here. A folder of the host that an application only reads may be anywhere."""
    shared, home = agent.services.config.shared_dir, "Bring that host back: it waits there."
    volumes = guest.app.volumes if guest.app is not None else ()
    if lost := takeover.at_home(guest):
        raise _no_heir(guest, f"{lost} is on the storage of the dead host alone", home)
    needed = [(disk.path, True) for disk in guest.disks]
    needed += [(volume.source, not volume.read_only) for volume in volumes]
    for name, is_written in needed:
        if is_written and not Path(name).is_relative_to(shared):
            raise _no_heir(guest, f"{name} is on the storage of the dead host alone", home)
        if not Path(name).exists():
            raise _no_heir(guest, f"{name} is not seen here", "Mount the shared storage.")


def _shown(agent: Agent, name: str) -> Shown:
    shown = agent.guests.by_name(name).shown()
    assert shown is not None
    return shown


def _no_heir(guest: Guest, why: str, todo: str) -> Refused:
    return Refused(what=f"{guest.name} is not taken over", why=why, todo=todo, kind=Kind.POLICY)
