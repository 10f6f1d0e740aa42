"""The page that Prometheus reads, and the separate listener on which an operator may offer it to whoever comes.

It must never serve anything else there: whoever can connect to it is asked for nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from segue.adapters.metrics import Meter
from segue.errors import Kind, Refused

PATH = "/metrics"


def page(meter: Meter, request: Request) -> Response:
    """All figures, in the format that was asked for."""
    body, media_type = meter.text(request.headers.get("accept", ""))
    return Response(body, headers={"content-type": media_type})


def alone(
    show: Callable[[Request], Awaitable[Response]], state: dict[str, Any], options: dict[str, Any]
) -> uvicorn.Config:
    """A server of that page and nothing else, without TLS. state: of the application, as the page needs it."""
    app = Starlette(routes=[Route(PATH, show)])
    for name, value in state.items():
        setattr(app.state, name, value)
    return uvicorn.Config(app, **options)


def wrong(address: str) -> str:
    """Why this cannot be listened on; empty where it can be, or where nothing is wanted."""
    try:
        parts = urlsplit(f"//{address}")
        well = not address or (parts.hostname and parts.port and parts.netloc == address)
    except ValueError:
        well = False
    return "" if well else f"'{address}' is not ADDRESS:PORT, such as 127.0.0.1:9744"


def listener(address: str) -> socket.socket:
    """Raises Refused where it cannot be had."""
    parts = urlsplit(f"//{address}")
    host, port = parts.hostname or "", parts.port or 0
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise Refused(
            what="the metrics cannot be offered",
            why=f"{address} cannot be listened on: {error}",
            todo="Choose an address of this machine and a free port, or leave it out.",
            kind=Kind.CONFLICT,
        ) from error
