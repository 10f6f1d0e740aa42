"""The API's part about what people know and no agent can: what BMCs see, and that a domain has lost a part."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from segue.adapters import clock
from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, fleet, gate, placing
from segue.controller.api_common import Limit, Page
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.errors import Kind, Refused
from segue.model.answer import Sensed, Warned
from segue.model.health import Health
from segue.model.rights import Verb

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Vouches = Annotated[Asked, Depends(gate.asks(Verb.VOUCH))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)
REASON_CHARS = 300


@dataclass(frozen=True)
class Mended:
    """Body of POST /v1/hosts/{name}/sensors/rectified: the part, as `power/PSU 1`."""

    part: str


@dataclass(frozen=True)
class Warn:
    """Body of PUT /v1/domains/{label}/{value}/warning."""

    reason: str


@router.get("/hosts/{name}/sensors")
async def sensors(request: Request, name: str, _: Surveyor) -> Health:
    """What its BMC says of its power supplies, fans and temperatures, judged; nothing is looked at for the question."""
    return _sensed(request, name).health


@router.post("/hosts/{name}/sensors/rectified", status_code=202)
async def mended(request: Request, name: str, body: Mended, _: Vouches) -> Health:
    """What was against the part is forgotten as soon as the leader hears of it; it is looked at anew."""
    controller, known = controller_of(request), _sensed(request, name)
    if all(part.part != body.part for part in known.health.parts):
        raise _none(f"there is no part {body.part[:80]} on {name}", "its BMC has never shown it")
    changed = await controller.books.change(
        controller.mirror.sensors, name, lambda now: replace(now, mended=(*now.mended, body.part))
    )
    return changed.health


@router.get("/warnings")
async def warnings(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[Warned]:
    """Domains of which a person has said that a part failed."""
    every = controller_of(request).mirror.warnings.values()
    return api_common.page(((placing.domain_name(w.label, w.value), w) for w in every), limit, after)


@router.put("/domains/{label}/{value}/warning")
async def warn(request: Request, label: str, value: str, body: Warn, asked: Vouches) -> Warned:
    """A part of it has failed: its hosts may have no spare, and guests go there last. Replaces what was said before."""
    controller, reason = controller_of(request), body.reason.strip()
    if not 1 <= len(reason) <= REASON_CHARS:
        raise api_common.odd(
            f"the reason has {len(reason)} characters, not 1 to {REASON_CHARS}", "Say what failed."
        )
    placing.demand_words(label, value)
    seen = await fleet.looked(controller.mirror, controller.loads)
    if all(host.domain(label) != value for host in seen.hosts):
        raise Refused(
            what="nobody was warned",
            why=f"no host has the label {label}={value}",
            todo="`segue host list` shows the labels of all.",
            kind=Kind.NOT_FOUND,
        )
    made = Warned(label, value, reason, asked.by.name, clock.wall_s())
    table, name = controller.mirror.warnings, placing.domain_name(label, value)
    if table.get(name) is None:
        await controller.books.add(table, name, made)
        return made
    return await controller.books.change(table, name, lambda _: made)


@router.delete("/domains/{label}/{value}/warning", status_code=204)
async def clear(request: Request, label: str, value: str, _: Vouches) -> None:
    """It was mended."""
    controller = controller_of(request)
    await controller.books.remove(controller.mirror.warnings, placing.domain_name(label, value))


def _sensed(request: Request, host: str) -> Sensed:
    controller = controller_of(request)
    kept = controller.mirror.sensors.get(host)
    if kept is None:
        controller.books.known(controller.mirror.reports, host)
        raise _none(
            f"nothing is known of the sensors of {host}",
            "it has no BMC in bmc.toml, or that has not answered",
        )
    return kept.value


def _none(what: str, why: str) -> Refused:
    return Refused(
        what=what, why=why, todo="`segue host health HOST --all` shows all parts.", kind=Kind.NOT_FOUND
    )
