"""The API's part for what planners heed: wishes of guests, rules, domains. It writes decisions, and moves nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, gate, placing
from segue.controller.api_common import IfMatch, Limit, Page
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.model.fleet import HOST_DOMAIN, Rule, Spread
from segue.model.rights import Verb
from segue.model.roster import DomainRecord, GuestWishes

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Operator = Annotated[Asked, Depends(gate.asks(Verb.LABEL))]
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class NewRule:
    """Body of POST /v1/rules: guests with these labels are to be apart or together, by host or another label."""

    name: str
    spread: Spread
    members: dict[str, str]
    domain: str = HOST_DOMAIN
    at_most: int = 1
    hard: bool = True
    weight: float = 0.1


@dataclass(frozen=True)
class Kept:
    """It is kept; what it cannot do today is told."""

    name: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class SetDomain:
    """Body of PUT /v1/domains/{label}/{value}."""

    within: dict[str, str] = field(default_factory=dict)
    uplink_bytes_per_s: int = 0


@router.get("/wishes")
async def wishes(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[GuestWishes]:
    """What was decided of guests, by their names."""
    return api_common.page(((r.name, r) for r in controller_of(request).mirror.wishes.values()), limit, after)


@router.patch("/guests/{name}/wishes")
async def change_guest(
    request: Request,
    response: Response,
    name: str,
    wish: placing.ChangeGuest,
    _: Operator,
    if_match: IfMatch = "",
) -> GuestWishes:
    """Labels, wanted and preferred hosts, tolerated taints, importance; the guest need not be there yet."""
    controller, revision = controller_of(request), api_common.revision(if_match)
    await placing.change_guest(controller, name, wish, revision)
    return api_common.tagged(response, controller.books.known(controller.mirror.wishes, name))


@router.delete("/guests/{name}/wishes", status_code=204)
async def drop_wishes(request: Request, name: str, _: Operator) -> None:
    """Forgets all that was decided of it."""
    controller = controller_of(request)
    await controller.books.remove(controller.mirror.wishes, name)


@router.get("/rules")
async def rules(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[Rule]:
    """Rules by name."""
    return api_common.page(((r.name, r) for r in controller_of(request).mirror.rules.values()), limit, after)


@router.post("/rules", status_code=201)
async def add_rule(request: Request, wish: NewRule, _: Operator) -> Kept:
    """One more rule; one that contradicts another is refused. Guests that break it are moved by the balancer."""
    rule = Rule(wish.name, wish.spread, wish.members, wish.domain, wish.at_most, wish.hard, wish.weight)
    return Kept(rule.name, await placing.add_rule(controller_of(request), rule))


@router.delete("/rules/{name}", status_code=204)
async def drop_rule(request: Request, name: str, _: Operator) -> None:
    """Takes a rule back."""
    controller = controller_of(request)
    await controller.books.remove(controller.mirror.rules, name)


@router.get("/domains")
async def domains(request: Request, _: Surveyor, limit: Limit = 100, after: str = "") -> Page[DomainRecord]:
    """Domains by label and value."""
    every = controller_of(request).mirror.domains.values()
    return api_common.page(((placing.domain_name(d.label, d.value), d) for d in every), limit, after)


@router.put("/domains/{label}/{value}")
async def set_domain(request: Request, label: str, value: str, wish: SetDomain, _: Operator) -> Kept:
    """What a domain lies within, and the link that its hosts share."""
    record = DomainRecord(label, value, wish.within, wish.uplink_bytes_per_s)
    found = await placing.set_domain(controller_of(request), record)
    return Kept(placing.domain_name(label, value), found)


@router.delete("/domains/{label}/{value}", status_code=204)
async def drop_domain(request: Request, label: str, value: str, _: Operator) -> None:
    """Nothing is known of it any more."""
    controller = controller_of(request)
    await controller.books.remove(controller.mirror.domains, placing.domain_name(label, value))
