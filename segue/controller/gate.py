"""Who may do what through the controller's API, and the line in the audit for each change that is asked for."""

from __future__ import annotations

import hmac
import time
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segue.adapters.http import access
from segue.adapters.http.access import Caller
from segue.controller.app import Controller, controller_of
from segue.errors import Kind, Refused, SegueError
from segue.wire import tokens
from segue.wire.frames import BEHIND

log = structlog.get_logger()
BODY_BYTES: Final = 1 << 20


def caller(connection: HTTPConnection) -> Caller:
    """By the certificate, or else by a bearer token. Raises Refused."""
    header = connection.headers.get("authorization", "")
    if not header:
        found = access.caller(connection)
        _demand_not_revoked(controller_of(connection), found)
        return found
    word, _, text = header.partition(" ")
    known = tokens.unpack_bearer(text) if word.lower() == "bearer" else None
    kept = controller_of(connection).mirror.tokens.get(known[0]) if known else None
    if known is None or kept is None or not hmac.compare_digest(kept.value.digest, tokens.digest(known[1])):
        raise refused("the token is none of this fleet, or was taken back")
    if kept.value.role not in access.RANKS:
        raise refused("the token is for joining, not for calling")
    if kept.value.expires_s < time.time():
        raise refused("the token's time is over")
    return Caller(kept.value.role, kept.value.name)


def _demand_not_revoked(controller: Controller, found: Caller) -> None:
    if found.role == "host":
        controller.links.demand_welcome(found)


def only(*roles: str) -> Callable[[Request], Coroutine[Any, Any, Caller]]:
    """A dependency: the caller, if it may. One that may not is named in the log."""

    async def demand(request: Request) -> Caller:
        found = caller(request)
        if not found.may(*roles):
            log.warning("call refused", who=found.name, role=found.role, path=request.url.path)
            raise refused(f"{found.name} is a {found.role}, this is for: {', '.join(roles)}")
        return found

    return demand


@dataclass(frozen=True)
class Asked:
    """A change that is in the audit before anything of it is done."""

    by: Caller
    request: str


def audited(*roles: str) -> Callable[[Request], AsyncIterator[Asked]]:
    """A dependency of everything that changes something: one line when it is asked for, one for what came of it."""

    async def note(request: Request) -> AsyncIterator[Asked]:
        found = await only(*roles)(request)
        books, what = controller_of(request).books, f"{request.method} {request.url.path}"
        from_ = request.client.host if request.client else "the local socket"
        asked = Asked(found, str(uuid.uuid4()))
        await books.note(found, from_, what, "asked", asked.request)
        try:
            yield asked
        except SegueError as error:
            outcome = f"{error.consequence}: {error.what}: {error.why}"
            await books.note(found, from_, what, outcome, asked.request)
            raise
        await books.note(found, from_, what, "done", asked.request)

    return note


class SmallBodies:
    """No request is larger than any that makes sense; refused while it comes, not after it has filled the memory."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > BODY_BYTES:
                log.warning("body refused", path=scope["path"], bytes=taken)
                raise _too_large()
            return message

        await self._app(scope, limited, send)


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


def _too_large() -> Refused:
    return Refused(
        what="the request was not read",
        why=f"its body has more than {BODY_BYTES} bytes",
        todo="Send less.",
        kind=Kind.USAGE,
    )


def refused(why: str) -> Refused:
    """The caller may not do that."""
    return Refused(
        what="the call is refused",
        why=why,
        todo="Use a certificate or token of the right role.",
        kind=Kind.AUTH,
    )
