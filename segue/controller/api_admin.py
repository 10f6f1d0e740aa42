"""The API's part for admins and for hosts that join: tokens, the audit, certificates."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api, gate, joining
from segue.controller.app import controller_of
from segue.controller.gate import Asked
from segue.model.roster import AuditLine, Token

Reader = Annotated[Caller, Depends(gate.only("admin"))]
Admin = Annotated[Asked, Depends(gate.audited("admin"))]
router = APIRouter(prefix="/v1")


@router.get("/tokens")
async def tokens(request: Request, _: Reader) -> api.Page[Token]:
    """Tokens; their secrets are kept nowhere."""
    return api.Page(list(controller_of(request).mirror.tokens.values()))


@router.post("/tokens", status_code=201)
async def create_token(request: Request, wish: joining.NewToken, asked: Admin) -> joining.Made:
    """A token to join with, once, or to call with."""
    return await joining.create(controller_of(request), wish, asked.by.name)


@router.delete("/tokens/{number}", status_code=204)
async def drop_token(request: Request, number: str, _: Admin) -> None:
    """Takes a token back."""
    controller = controller_of(request)
    await controller.books.remove(controller.mirror.tokens, number)


@router.get("/audit")
async def audit(request: Request, _: Reader, limit: api.Limit = 100, after: str = "") -> api.Page[AuditLine]:
    """Who asked for which change, oldest first, and what came of it."""
    table = controller_of(request).mirror.audit
    return api.page(((name, table.items()[name].value) for name in sorted(table.items())), limit, after)


@router.get("/ca")
async def ca(request: Request) -> Response:
    """The fleet's CA. Whoever joins compares it with his token: nobody else should trust it from here."""
    return Response(controller_of(request).ca_pem, media_type="application/x-pem-file")


@router.post("/join", status_code=201)
async def join(request: Request, wish: joining.Join) -> joining.Joined:
    """A host shows its token, and gets its certificate."""
    controller = controller_of(request)
    from_ = request.client.host if request.client else ""
    made = await joining.join(controller, wish, from_)
    await controller.books.note(Caller("token", wish.id), from_, "POST /v1/join", f"{wish.name} joined", "")
    return made
