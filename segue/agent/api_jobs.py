"""The agent's API for maintenance: commands, reboots, and what the host consists of. For admins and root alone."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from segue.adapters.http import access
from segue.agent import updates
from segue.agent.app import agent_of
from segue.errors import Kind, Refused
from segue.model.job import Closing, Inventory, Job, JobWish, Reboot


def _admin(request: Request) -> None:
    """Root on the local socket, by which a controller's words come too, or an admin's certificate."""
    caller = access.caller(request)
    if caller is not access.LOCAL and not caller.may("admin"):
        raise Refused(
            what="the call is refused",
            why=f"{caller.name} is a {caller.role}, and this runs commands as root",
            todo="Use an admin's certificate.",
            kind=Kind.AUTH,
        )


router = APIRouter(prefix="/v1", dependencies=[Depends(_admin)])


@router.get("/inventory")
async def inventory(request: Request) -> Inventory:
    """System, processor, firmware; whether a reboot is wanted, and whether commands are taken."""
    agent = agent_of(request)
    await updates.look_at_installed(agent.services)
    return agent.jobs.inventory()


@router.get("/jobs")
async def jobs(request: Request) -> list[Job]:
    """All that are remembered, newest first."""
    return agent_of(request).jobs.all()


@router.put("/jobs/{number}", status_code=202)
async def begin_job(request: Request, number: str, wish: JobWish) -> Job:
    """Begins a command; the same number again only tells what became of it."""
    return agent_of(request).jobs.begin(number, wish)


@router.get("/jobs/{number}")
async def job(request: Request, number: str) -> Job:
    """What became of it."""
    return agent_of(request).jobs.look(number)


@router.post("/jobs/{number}/end", status_code=202)
async def end_job(request: Request, number: str) -> Job:
    """Asks it to end, with all that it started."""
    return agent_of(request).jobs.end(number)


@router.put("/reboots/{number}", status_code=202)
async def reboot(request: Request, number: str) -> Reboot:
    """Reboots the host if no guest is on it; the same number again does nothing."""
    return agent_of(request).jobs.reboot(number)


@router.get("/reboots/{number}")
async def rebooted(request: Request, number: str) -> Reboot:
    """What was asked for, and why it was not done."""
    return agent_of(request).jobs.rebooted(number)


@router.put("/closed", status_code=204)
async def close(request: Request, wish: Closing) -> None:
    """Its BMC is about to take its power: no guest starts here or comes in any more. Refused while one is here."""
    agent_of(request).jobs.close(wish.within_s)


@router.delete("/closed", status_code=204)
async def reopen(request: Request) -> None:
    """It keeps its power."""
    agent_of(request).jobs.open()
