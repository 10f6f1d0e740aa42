"""The API's part about the power of hosts: what their BMCs say, and a person's word that a host is dead."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request

from segue.adapters import chance, clock
from segue.adapters.http.access import Caller
from segue.controller import api_doc, gate, off, successions
from segue.controller.app import Controller, controller_of
from segue.controller.gate import Asked
from segue.errors import Kind, Refused
from segue.model.crash import Cause
from segue.model.fencing import Death, Power, Proof, ProofKind, Sight
from segue.model.incident import Hit, Incident
from segue.model.rights import Verb
from segue.policy import hostloss

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Fences = Annotated[Asked, Depends(gate.asks(Verb.FENCE))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)
WITHIN_S: Final = 30.0


class Switch(StrEnum):
    """What a power button does."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True)
class SwitchPower:
    """Body of POST /v1/hosts/{name}/power. force: off, although guests run there."""

    to: Switch
    force: bool = False


@dataclass(frozen=True)
class PowerShown:
    """What a host's BMC says of it."""

    host: str
    power: Power


@router.get("/hosts/{name}/power")
async def power(request: Request, name: str, _: Surveyor) -> PowerShown:
    """What its BMC says now."""
    controller = controller_of(request)
    _demand_host(controller, name)
    return PowerShown(name, await _told(name, controller.powers.of(name).power()))


@router.post("/hosts/{name}/power")
async def switch(request: Request, name: str, wish: SwitchPower, _: Fences) -> PowerShown:
    """Returns when its BMC says that it is done, or what it says after half a minute."""
    controller = controller_of(request)
    _demand_host(controller, name)
    bmc = controller.powers.of(name)
    if wish.to is Switch.ON:
        return PowerShown(name, await _told(name, bmc.on(WITHIN_S)))
    there = [s.name for s in successions.hit(controller.mirror, name) if s.state in successions.RUNS]
    if there and not wish.force:
        raise _refused(name, f"guests run there: {', '.join(there[:5])}", "Drain it first, or add --force.")
    return PowerShown(name, await _told(name, bmc.off(WITHIN_S)))


@router.get("/deaths")
async def lost(request: Request, _: Surveyor) -> list[Death]:
    """Hosts that are lost with guests on them."""
    return list(controller_of(request).mirror.deaths.values())


@router.post("/hosts/{name}/confirm-dead")
async def confirm_dead(request: Request, name: str, asked: Fences) -> Death:
    """A person vouches that it has no power and stays off. Refused while anybody sees a sign of life of it."""
    controller = controller_of(request)
    _demand_host(controller, name)
    if name in controller.links.linked() and controller.links.silences_s().get(name, 0.0) < hostloss.LOST_S:
        raise _refused(name, "its agent is connected here", "Nothing: it lives.")
    seen = await off.sights(controller, name)
    if alive := sorted(f"{who} ({sight})" for who, sight in seen.items() if sight is not Sight.SILENT):
        todo = "Switch it off first, and see to it that it stays off."
        raise _refused(name, f"it gives a sign of life to {', '.join(alive)}", todo)
    if not seen.keys() - {hostloss.CONTROLLER}:
        raise _refused(
            name, "no other host could be asked whether it sees it", "Ask the controller that leads."
        )
    await _demand_bmc_agrees(controller, name)
    by = asked.by.name
    proof = Proof(ProofKind.PERSON, name, clock.wall_s(), by, f"{by} says that it is off and stays off")
    return await _vouched(controller, name, proof)


async def _demand_bmc_agrees(controller: Controller, name: str) -> None:
    """Where there is one that answers, it knows better than any person."""
    try:
        async with asyncio.timeout(off.DOUBT_S):
            said = await controller.powers.of(name).power()
    except (Refused, TimeoutError):
        return  # A caller waits for 30 s, and must hear that it was noted.
    if said is not Power.OFF:
        raise _refused(name, f"its BMC says {said}", f"Switch it off: `segue host power {name} off --force`.")


async def _vouched(controller: Controller, name: str, proof: Proof) -> Death:
    """Into the record that there is, or a new one; the leader goes on from it."""
    books, mirror = controller.books, controller.mirror
    kept = mirror.deaths.get(name)
    if kept is None:
        hits = tuple(Hit(s.name, s.spec.uuid, proof.at_s) for s in successions.missed(mirror, name))
        text = f"{name} is dead: {proof.text}"
        incident = Incident(chance.new_id(), name, Cause.HOST_LOST, proof.at_s, text, hits, proof=proof)
        await books.add(mirror.incidents, incident.id, incident)
        made = Death(name, proof.at_s, incident.id, proof)
        await books.add(mirror.deaths, name, made)
        return made
    words = f"it is off: {proof.text}"
    await books.change(mirror.incidents, kept.value.incident, lambda i: _proved(i, words, proof))
    return await books.change(
        mirror.deaths, name, lambda d: Death(d.host, d.at_s, d.incident, _stronger(d.proof, proof))
    )


def _proved(incident: Incident, words: str, proof: Proof) -> Incident:
    return replace(incident.with_step(clock.wall_s(), words), proof=_stronger(incident.proof, proof))


def _stronger(known: Proof | None, said: Proof) -> Proof:
    """A lease that is over says that no guest runs there, and not that its agent is silent: a person says more."""
    return said if known is None or not known.of_power else known


def _demand_host(controller: Controller, name: str) -> None:
    if name not in controller.mirror.reports.items():
        controller.books.known(controller.mirror.hosts, name)


async def _told(name: str, asked: Awaitable[Power]) -> Power:
    """A BMC that does not answer, or takes no password, is not a controller that does so."""
    try:
        return await asked
    except Refused as error:
        raise _refused(name, error.why, error.todo) from error


def _refused(host: str, why: str, todo: str) -> Refused:
    return Refused(what=f"{host} is left as it is", why=why, todo=todo, kind=Kind.CONFLICT)
