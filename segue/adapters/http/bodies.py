"""No request is larger than any that makes sense: refused while it comes, not after it has filled the memory."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from typing import Final

import msgspec
import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from segue.errors import Kind
from segue.wire.frames import Problem

log = structlog.get_logger()
TOO_LARGE: Final = 413


class _TooLarge(Exception):
    """Ends the application's reading."""


class SmallBodies:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, most_bytes: int, but: Collection[str] = ()) -> None:
        """but: paths whose body may have any size, as it is written to a file while it comes."""
        self._app = app
        self._most_bytes = most_bytes
        self._but = frozenset(but)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What comes after is given a body that is small enough, or none; its own answer to none is not sent."""
        if scope["type"] != "http" or scope["path"] in self._but:
            await self._app(scope, receive, send)
            return
        taken, refused = 0, False

        async def limited() -> Message:
            nonlocal taken, refused
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._most_bytes:
                refused = True
                raise _TooLarge
            return message

        async def unless_refused(message: Message) -> None:
            if not refused:
                await send(message)

        if _announced(scope) > self._most_bytes:
            await self._refuse(scope, send)
            return
        with contextlib.suppress(_TooLarge):
            await self._app(scope, limited, unless_refused)
        if refused:
            await self._refuse(scope, send)

    async def _refuse(self, scope: Scope, send: Send) -> None:
        log.warning("body refused", path=scope["path"])
        problem = Problem(
            status=TOO_LARGE,
            title="refused",
            kind=Kind.USAGE,
            what="the request was not read",
            why=f"its body has more than {self._most_bytes} bytes",
            todo="Send less.",
        )
        headers = [(b"content-type", b"application/problem+json"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": TOO_LARGE, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(problem)})


def _announced(scope: Scope) -> int:
    told = dict(scope["headers"]).get(b"content-length", b"0")
    return int(told) if told.isdigit() else 0
