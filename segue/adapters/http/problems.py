"""How errors are shown over HTTP: RFC 9457, with the three sentences of segue.errors."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import msgspec
import structlog
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from segue.errors import Kind, SegueError
from segue.model.store import Compacted
from segue.wire.frames import Problem

log = structlog.get_logger()

STATUS: Final = {
    Kind.POLICY: HTTPStatus.UNPROCESSABLE_ENTITY,
    Kind.USAGE: HTTPStatus.BAD_REQUEST,
    Kind.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Kind.CONFLICT: HTTPStatus.CONFLICT,
    Kind.AUTH: HTTPStatus.FORBIDDEN,
    Kind.TIMEOUT: HTTPStatus.GATEWAY_TIMEOUT,
    Kind.UNREACHABLE: HTTPStatus.BAD_GATEWAY,
    Kind.BUSY: HTTPStatus.TOO_MANY_REQUESTS,
}


async def show_error(_request: Request, error: Exception) -> Response:
    """RFC 9457, with the three sentences."""
    assert isinstance(error, SegueError)
    # What followed that revision is gone for ever, which is more than a conflict.
    status = HTTPStatus.GONE if isinstance(error, Compacted) else STATUS[error.kind]
    problem = Problem(status, error.consequence, error.kind, error.what, error.why, error.todo)
    return Response(msgspec.json.encode(problem), status, media_type="application/problem+json")


async def show_http(_request: Request, error: Exception) -> Response:
    """No such path, no such method, and a body that cannot be read at all."""
    assert isinstance(error, HTTPException)
    kind = Kind.NOT_FOUND if error.status_code == HTTPStatus.NOT_FOUND else Kind.USAGE
    problem = Problem(
        status=error.status_code,
        title="refused",
        kind=kind,
        what="the request was not understood",
        why=str(error.detail),
        todo="See /openapi.json for every path and its methods.",
    )
    content = msgspec.json.encode(problem)
    return Response(content, error.status_code, error.headers, media_type="application/problem+json")


async def show_bug(request: Request, error: Exception) -> Response:
    """An error nobody foresaw: logged whole, shown without its inside."""
    log.error("unforeseen error", path=request.url.path, exc_info=error)
    problem = Problem(
        status=500,
        title="refused",
        kind=Kind.CONFLICT,
        what="it could not be done",
        why=f"an error nobody foresaw ({type(error).__name__}: {error})",
        todo="Look at the guest's state with `segue vm list`; the log of the agent or controller has the details.",
    )
    return Response(msgspec.json.encode(problem), 500, media_type="application/problem+json")


async def show_bad_input(_request: Request, error: Exception) -> Response:
    """A body or parameter that does not have the documented shape."""
    assert isinstance(error, RequestValidationError)
    details = error.errors()
    reasons = "; ".join(f"{'.'.join(map(str, d['loc'][1:]))}: {d['msg']}" for d in details) or str(error)
    problem = Problem(
        status=400,
        title="refused",
        kind=Kind.USAGE,
        what="the request was not understood",
        why=reasons,
        todo="See /openapi.json for the shape of every request.",
    )
    return Response(msgspec.json.encode(problem), 400, media_type="application/problem+json")
