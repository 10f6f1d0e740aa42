"""The servers of one process: over TLS, on a local socket, or for figures alone. It must never know what they serve."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from segue.adapters.http import access
from segue.adapters.own_tls import OwnTls

QUIET: Final[dict[str, Any]] = {
    "log_config": None,
    "access_log": False,
    "lifespan": "off",
    "timeout_graceful_shutdown": 1,
}


class Server(uvicorn.Server):
    """Leaves signals to us: several servers in one process would fight for them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


Serving = tuple[Server, list[socket.socket] | None]
"""A server, and the sockets that it is given; none: it opens its own."""


def over_tls(app: ASGIApp, at: tuple[str, int], own: OwnTls, proof: ssl.VerifyMode, **more: Any) -> Serving:
    """At this address and port. A certificate that is renewed counts for every connection from then on."""
    config = uvicorn.Config(
        app,
        host=at[0],
        port=at[1],
        http=access.TlsHttp,
        ssl_certfile=str(own.pair.certificate),
        ssl_keyfile=str(own.pair.key),
        ssl_ca_certs=str(own.ca),
        ssl_cert_reqs=proof,
        **QUIET,
        **more,
    )
    config.load()
    assert config.ssl is not None
    own.adopt(config.ssl)
    return Server(config), None


def on_local_socket(app: ASGIApp, listener: socket.socket) -> Serving:
    """For whoever may open it."""
    return Server(uvicorn.Config(app, http=access.LocalHttp, **QUIET)), [listener]


def plain(config: uvicorn.Config, listener: socket.socket) -> Serving:
    """Without TLS, for whoever comes."""
    return Server(config), [listener]


async def until_told(servers: Sequence[Serving], also: Callable[[], object] = lambda: None) -> None:
    """Serves until a signal ends it. also: what else is to be done at once then."""

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True
        also()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve(sockets=sockets) for server, sockets in servers))
