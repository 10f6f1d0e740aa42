"""Who may do what through the controller's API, and the lines in the audit for what is asked for, done and refused."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segue.adapters import chance, clock
from segue.adapters.http import access
from segue.adapters.http.access import Caller
from segue.controller import limits
from segue.controller.app import Controller, controller_of
from segue.errors import Kind, Refused, SegueError
from segue.model.rights import RANKS, Verb
from segue.model.roster import Token
from segue.policy import rights
from segue.wire import tokens
from segue.wire.frames import BEHIND

log = structlog.get_logger()
NOBODY = Caller("nobody", "unknown")


def caller(connection: HTTPConnection) -> Caller:
    """By the certificate, or else by a bearer token. Raises Refused."""
    header = connection.headers.get("authorization", "")
    if not header:
        found = access.caller(connection)
        if found.role == "host":
            controller_of(connection).links.demand_welcome(found)
        return found
    controller = controller_of(connection)
    token = _token(controller, header)
    bearer = Caller(token.role, token.name, scope=token.scope)
    controller.bars.demand(bearer)
    return bearer


def _token(controller: Controller, header: str) -> Token:
    word, _, text = header.partition(" ")
    known = tokens.unpack_bearer(text) if word.lower() == "bearer" else None
    kept = controller.mirror.tokens.get(known[0]) if known else None
    if known is None or kept is None or not hmac.compare_digest(kept.value.digest, tokens.digest(known[1])):
        raise refused("the token is none of this fleet, or was taken back")
    if kept.value.role not in RANKS:
        raise refused("the token is for joining, not for calling")
    if kept.value.expires_s < clock.wall_s():
        raise refused("the token's time is over")
    return kept.value


def looks(verb: Verb) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    """A dependency of everything that only reads: the caller, if it may."""

    async def demand(request: Request) -> Caller:
        return await _demand(request, verb)

    return demand


@dataclass(frozen=True)
class Asked:
    """A change that is in the audit before anything of it is done."""

    by: Caller
    request: str


def asks(verb: Verb) -> Callable[[Request], AsyncIterator[Asked]]:
    """A dependency of everything that changes something: one line when it is asked for, one for what came of it."""

    async def note(request: Request) -> AsyncIterator[Asked]:
        found = await _demand(request, verb)
        books, what, from_ = controller_of(request).books, _what(request), address(request)
        asked = Asked(found, chance.new_id())
        await books.note(found, from_, what, "asked", asked.request)
        try:
            yield asked
        except SegueError as error:
            outcome = f"{error.consequence}: {error.what}: {error.why}"
            await books.note(found, from_, what, outcome, asked.request)
            raise
        except Exception as error:
            outcome = f"refused: it was not understood, or an error nobody foresaw ({type(error).__name__})"
            await books.note(found, from_, what, outcome, asked.request)
            raise
        await books.note(found, from_, what, "done", asked.request)

    return note


def demand_more(asked: Asked, verb: Verb) -> None:
    """For a part of a change that not everybody may make who may make the rest."""
    if why := rights.against(asked.by.role, asked.by.scope, verb):
        raise refused(f"{asked.by.name}: {why}")


async def _demand(request: Request, verb: Verb) -> Caller:
    found = NOBODY
    try:
        found = caller(request)
        if why := rights.against(found.role, found.scope, verb):
            raise refused(f"{found.name}: {why}")
    except SegueError as error:
        await _note_refusal(request, found, error)
        raise
    return found


async def _note_refusal(request: Request, found: Caller, error: SegueError) -> None:
    """In log and audit, as long as not too many come: nobody may fill the store by being refused.

    Raises Refused, which then takes the place of the refusal, where somebody unknown comes too often.
    """
    controller, from_ = controller_of(request), address(request)
    is_known = found is not NOBODY
    key, rate = (found.name, limits.REFUSALS) if is_known else (from_, limits.FAILURES)
    if not controller.limits.allows("refusal", key, rate):
        if not is_known:
            raise limits.busy(f"{from_} was refused too often") from error
        return
    log.warning("call refused", who=found.name, role=found.role, address=from_, path=request.url.path)
    try:
        await controller.books.note(found, from_, _what(request), f"refused: {error.why}", "")
    except SegueError as problem:
        log.warning("a refusal is not in the audit", why=str(problem))


def address(request: HTTPConnection) -> str:
    """Where the call comes from, for people."""
    return request.client.host if request.client else "the local socket"


def _what(request: Request) -> str:
    return f"{request.method} {request.url.path}"


class Candour:
    """Says in every answer how old it is, where this controller does not see the store any more."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                behind_s = scope["app"].state.controller.mirror.behind_s()
                if behind_s:
                    MutableHeaders(scope=message)[BEHIND] = f"{behind_s:.0f}"
            await send(message)

        await self._app(scope, receive, told)


def refused(why: str) -> Refused:
    """The caller may not do that."""
    return Refused(
        what="the call is refused",
        why=why,
        todo="Use a certificate or token of the right role.",
        kind=Kind.AUTH,
    )
