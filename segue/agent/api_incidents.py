"""The agent's API of incidents, and of what is to be done when a guest crashes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from segue.adapters.http import access
from segue.agent import tied
from segue.agent.app import agent_of
from segue.errors import Kind, Refused
from segue.model.crash import OnCrash
from segue.model.incident import Incident, Told
from segue.policy import crash
from segue.wire.frames import Shown

MOST = 100


def _operator(request: Request) -> None:
    access.only(request, "operator")


router = APIRouter(prefix="/v1", dependencies=[Depends(_operator)])


@router.get("/incidents")
async def incidents(request: Request) -> list[Incident]:
    """All that this host keeps, newest first."""
    return agent_of(request).services.journal.incidents.all()


@router.get("/incidents/after/{number}")
async def changed(
    request: Request, number: int, limit: Annotated[int, Query(ge=1, le=MOST)] = MOST
) -> list[Told]:
    """Those that changed since the change of that number, in that order: as a controller asks every few seconds."""
    return agent_of(request).services.journal.incidents.after(number, limit)


@dataclass(frozen=True)
class Why:
    """Body of POST .../stays and .../unmovable: the reason in words."""

    why: str


@router.post("/incidents/{number}/stays")
async def stays(request: Request, number: str, body: Why) -> Incident:
    """No other host starts the guest that waits for one: it is restarted here."""
    return agent_of(request).services.crashes.stays(number, body.why)


@router.post("/guests/{name}/unmovable")
async def unmovable(request: Request, name: str, body: Why) -> Incident:
    """No live migration takes this guest away from here, and it should go: from here on its policy counts."""
    agent = agent_of(request)
    keeper = agent.guests.by_name(name)
    return await agent.services.crashes.unmovable(keeper, body.why)


@router.put("/guests/{name}/on-crash")
async def on_crash(request: Request, name: str, body: OnCrash) -> Shown:
    """What is done from now on when the guest crashes; possible while it runs, and not while it is moved."""
    agent = agent_of(request)
    keeper = agent.guests.by_name(name)
    faults = list(crash.faults(body))
    if crash.goes_elsewhere(body):
        faults += filter(None, [tied.by_its_disks(agent.services.config, keeper.guest_here())])
    if faults:
        raise Refused(
            what=f"{name} keeps its policy",
            why="; ".join(faults),
            todo="Choose another one: `segue vm on-crash --help`.",
            kind=Kind.USAGE,
        )
    known = keeper.guest_here()
    if known.is_app and replace(body, host=known.on_crash.host) != known.on_crash:
        raise Refused(
            what=f"{name} keeps its policy",
            why="it is an application: its restart policy says what is done when it ends",
            todo="Name that policy when it is run: `segue app run --restart`. Only `host=` can be changed here.",
            kind=Kind.CONFLICT,
        )
    changed = replace(known, on_crash=body)
    await keeper.resident.admit(changed)  # Before anybody hears that others may take it over.
    keeper.respecify(changed)
    shown = keeper.shown()
    assert shown is not None
    return shown
