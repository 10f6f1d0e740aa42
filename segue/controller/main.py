"""Starts the controller: store, mirror, API over TLS, and the candidate that leads when nobody else does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError

from segue import __version__
from segue.adapters.clock import BootClock
from segue.adapters.http import access
from segue.adapters.http.problems import show_bad_input, show_bug, show_error
from segue.adapters.store import url
from segue.controller import api, api_admin, api_health, executor, stores
from segue.controller.app import Controller
from segue.controller.books import Books
from segue.controller.folder import Folder
from segue.controller.gate import SmallBodies
from segue.controller.links import Links
from segue.controller.mirror import Mirror
from segue.engine.leadership import TTL_S, Candidate
from segue.errors import SegueError
from segue.model.answer import AnswerOrders
from segue.wire.link import FRAME_BYTES

log = structlog.get_logger()


@dataclass(frozen=True)
class Settings:
    """What one controller is told at its start."""

    folder: Folder
    store: str
    address: str
    port: int
    name: str
    ttl_s: float = TTL_S
    evacuate_failing: int = 0
    """So many failing hosts are emptied at once by the controller itself."""


async def serve(settings: Settings) -> None:
    """Runs until told to stop; guests, migrations and agents go on without it."""
    async with stores.opened(url.parse(settings.store)) as store:
        mirror = Mirror(store)
        candidate = Candidate(store, BootClock(), settings.name, settings.ttl_s)
        controller = Controller(
            name=settings.name,
            store=store,
            mirror=mirror,
            books=Books(store, mirror),
            links=Links(mirror, candidate.demand),
            candidate=candidate,
            authority=settings.folder.authority(),
            ca_pem=settings.folder.ca.read_bytes(),
            answers=AnswerOrders(at_once=settings.evacuate_failing),
        )
        following = asyncio.create_task(mirror.follow())
        leading = asyncio.create_task(executor.lead(controller))
        try:
            log.info("controller serves", name=settings.name, port=settings.port, version=__version__)
            await _serve(settings, controller, leading)
        finally:
            for task in (leading, following):
                task.cancel()
            await asyncio.wait({leading, following})


def application(controller: Controller) -> FastAPI:
    """The API with its errors."""
    app = FastAPI(title="segue controller", version=__version__, docs_url=None, redoc_url=None)
    app.state.controller = controller
    app.include_router(api.router)
    app.include_router(api_admin.router)
    app.include_router(api_health.router)
    app.add_middleware(SmallBodies)
    app.add_exception_handler(SegueError, show_error)
    app.add_exception_handler(RequestValidationError, show_bad_input)
    app.add_exception_handler(Exception, show_bug)
    return app


class _Server(uvicorn.Server):
    """Leaves signals to us: a connection that an agent keeps must not hold up the end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings, controller: Controller, leading: asyncio.Task[None]) -> None:
    options: dict[str, Any] = {
        "log_config": None,
        "access_log": False,
        "lifespan": "off",
        "timeout_graceful_shutdown": 1,
        "ws_max_size": FRAME_BYTES,
        "ws_ping_interval": None,
    }
    pair = settings.folder.pair
    server = _Server(
        uvicorn.Config(
            application(controller),
            host=settings.address,
            port=settings.port,
            http=access.TlsHttp,
            ssl_certfile=str(pair.certificate),
            ssl_keyfile=str(pair.key),
            ssl_ca_certs=str(settings.folder.ca),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,
            **options,
        )
    )

    def stop() -> None:
        server.should_exit = True
        leading.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.serve()
