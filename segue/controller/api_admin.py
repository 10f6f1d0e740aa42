"""The API's part for admins and for hosts that join: tokens, the audit, certificates, who is barred."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request, Response

from segue.adapters import clock
from segue.adapters.http.access import ROLES, Caller
from segue.controller import api_common, api_doc, gate, joining, people
from segue.controller.api_common import Limit, Page
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.errors import Refused
from segue.model.rights import Verb
from segue.model.roster import AuditLine, Token
from segue.model.trust import Bar

SeesTokens = Annotated[Caller, Depends(gate.looks(Verb.TOKENS))]
Auditor = Annotated[Caller, Depends(gate.looks(Verb.AUDIT))]
Tokens = Annotated[Asked, Depends(gate.asks(Verb.TOKENS))]
SeesBars = Annotated[Caller, Depends(gate.looks(Verb.REVOKE))]
Bars = Annotated[Asked, Depends(gate.asks(Verb.REVOKE))]
Renewer = Annotated[Asked, Depends(gate.asks(Verb.RENEW))]
PERSON: Final = re.compile(r"[A-Za-z0-9._@-]{1,64}")
"""As certificates may have it; ours have what NAME takes, those from elsewhere more."""
SERIAL: Final = re.compile(r"[0-9A-F]{1,40}")
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class NewBar:
    """Body of POST /v1/bars. `who`: ROLE:NAME, or the number of a certificate in hex."""

    who: str
    why: str = ""


@router.get("/tokens")
async def tokens(request: Request, _: SeesTokens) -> Page[Token]:
    """Tokens; their secrets are kept nowhere."""
    return Page(list(controller_of(request).mirror.tokens.values()))


@router.post("/tokens", status_code=201)
async def create_token(request: Request, wish: joining.NewToken, asked: Tokens) -> joining.Made:
    """A token to join with, once, or to call with."""
    return await joining.create(controller_of(request), wish, asked.by.name)


@router.delete("/tokens/{number}", status_code=204)
async def drop_token(request: Request, number: str, _: Tokens) -> None:
    """Takes a token back."""
    controller = controller_of(request)
    await controller.books.remove(controller.mirror.tokens, number)


@router.get("/audit")
async def audit(
    request: Request,
    _: Auditor,
    limit: Limit = 100,
    after: str = "",
    since: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0,
) -> Page[AuditLine]:
    """Who asked for what, oldest first, and what came of it; refusals too. since: seconds since 1970."""
    table = controller_of(request).mirror.audit.items()
    names = sorted(name for name in table if table[name].value.time_s >= since)
    return api_common.page(((name, table[name].value) for name in names), limit, after)


@router.get("/bars")
async def bars(request: Request, _: SeesBars) -> Page[Bar]:
    """Who is refused though his certificate or token holds."""
    return Page(list(controller_of(request).bars.now().bars))


@router.post("/bars", status_code=201)
async def bar(request: Request, wish: NewBar, asked: Bars) -> Bar:
    """Bars somebody from the fleet: controllers refuse him at once, agents as soon as they hear of it."""
    who = _who(wish.who)
    if controller_of(request).bars.is_self(asked.by, who):
        raise api_common.odd("you would bar yourself", "Have another admin do it.")
    made = Bar(who, clock.wall_s(), asked.by.name, wish.why[:200])
    for each in people.bars(controller_of(request).mirror, made):
        await controller_of(request).bars.bar(each)
    return made


@router.delete("/bars/{who}", status_code=204)
async def allow(request: Request, who: str, _: Bars) -> None:
    """Takes that back. A host that was removed: `revoked` of it."""
    await controller_of(request).bars.allow(_who(who))


@router.post("/certificates", status_code=201)
async def renew(request: Request, wish: people.Wish, asked: Renewer) -> people.Certified:
    """The next certificate of whoever calls with one of his own, in the last third of its life."""
    return await people.renew(controller_of(request), asked.by, wish, gate.address(request))


@router.get("/ca", response_class=Response, responses=api_doc.CA)
async def ca(request: Request) -> Response:
    """The fleet's CA. Whoever joins compares it with his token: nobody else should trust it from here."""
    return Response(controller_of(request).ca_pem, media_type="application/x-pem-file")


@router.post("/join", status_code=201)
async def join(request: Request, wish: joining.Join) -> joining.Joined:
    """A host shows its token, and gets its certificate."""
    controller, from_ = controller_of(request), gate.address(request)
    controller.limits.demand_join(from_)
    by = Caller("token", wish.id[:80])
    try:
        made = await joining.join(controller, wish, from_)
    except Refused as error:
        await controller.books.note(by, from_, "POST /v1/join", f"refused: {error.why}", "")
        raise
    await controller.books.note(by, from_, "POST /v1/join", f"{wish.name} joined", "")
    return made


def _who(text: str) -> str:
    """Raises Refused for what names nobody."""
    role, sign, name = text.partition(":")
    if sign and role in ROLES and PERSON.fullmatch(name):
        return text
    if not sign and SERIAL.fullmatch(text.upper()):
        return text.upper()
    raise api_common.odd(
        f"'{text[:80]}' names nobody", "Write ROLE:NAME, as operator:olga, or a certificate's number in hex."
    )
