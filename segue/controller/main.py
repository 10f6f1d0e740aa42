"""Starts the controller: store, mirror, API over TLS, and the candidate that leads when nobody else does."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from segue import __version__
from segue.adapters import pki, priority, spans, webhook
from segue.adapters.clock import BootClock
from segue.adapters.http import metrics_page, serving
from segue.adapters.http.bodies import SmallBodies
from segue.adapters.http.problems import show_bad_input, show_bug, show_error, show_http
from segue.adapters.metrics import Meter
from segue.adapters.own_tls import OwnTls
from segue.adapters.spans import Sender
from segue.adapters.store import url
from segue.controller import (
    api,
    api_admin,
    api_apps,
    api_balance,
    api_doc,
    api_guests,
    api_health,
    api_hosts,
    api_identity,
    api_incidents,
    api_load,
    api_maintenance,
    api_metrics,
    api_nightly,
    api_placing,
    api_power,
    api_sensors,
    api_tasks,
    api_update,
    api_verify,
    audit_trail,
    certificates,
    executor,
    incident_posts,
    nightly,
    sensor_rules,
    stores,
)
from segue.controller.app import Controller
from segue.controller.bars import Bars
from segue.controller.books import Books
from segue.controller.figures import View
from segue.controller.folder import Folder
from segue.controller.gate import Candour
from segue.controller.limits import Limits
from segue.controller.links import Links
from segue.controller.loads import Loads
from segue.controller.metered import MeteredStore
from segue.controller.mirror import Mirror
from segue.controller.power import Powers
from segue.controller.traces import Traces
from segue.engine.leadership import TTL_S, Candidate
from segue.engine.store import Store
from segue.errors import SegueError
from segue.model import metrics
from segue.model.answer import AnswerOrders
from segue.wire.link import FRAME_BYTES

log = structlog.get_logger()

PARTS: Final = (
    api, api_hosts, api_guests, api_tasks, api_admin, api_balance, api_load, api_placing, api_metrics,
    api_health, api_incidents, api_maintenance, api_power, api_update, api_apps, api_sensors, api_verify,
    api_identity, api_nightly,
)  # fmt: skip
BODY_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Settings:
    """What one controller is told at its start."""

    folder: Folder
    store: str
    address: str
    port: int
    name: str
    ttl_s: float = TTL_S
    certificate_s: float = pki.VALID.total_seconds()
    audit_file: Path | None = None
    """Where every line of the audit is appended, too."""
    metrics_address: str = ""
    """ADDRESS:PORT where the page for Prometheus is offered without TLS to whoever comes; empty: nowhere."""
    traces_url: str = ""
    """Where spans of ended migrations are sent (OTLP over HTTP); empty: nowhere."""
    renew_people: bool = True
    incidents_url: str = ""
    """Where the leader posts each change of an incident of the fleet; empty: nowhere."""
    evacuate_failing: int = 0
    """So many failing hosts are emptied at once by the controller itself."""


async def serve(settings: Settings) -> None:
    """Runs until told to stop; guests, migrations and agents go on without it."""
    priority.mind_session()
    place, meter = url.parse(settings.store), Meter(metrics.CONTROLLER)
    backend = "sqlite" if isinstance(place, url.SqlitePlace) else "etcd"
    async with stores.opened(place) as opened:
        store = MeteredStore(opened, meter, backend)
        mirror = Mirror(store)
        candidate = Candidate(store, BootClock(), settings.name, settings.ttl_s)
        controller = _made(settings, store, mirror, candidate, meter)
        meter.shows(View(controller, settings.folder).look)
        leading = asyncio.create_task(executor.lead(controller))
        others = [
            asyncio.create_task(mirror.follow()),
            asyncio.create_task(nightly.keep(controller)),
            asyncio.create_task(
                certificates.keep_own(controller.own, controller.authority, settings.certificate_s)
            ),
        ]
        if settings.audit_file is not None:
            others.append(asyncio.create_task(audit_trail.write(mirror, settings.audit_file)))
        try:
            log.info("controller serves", name=settings.name, port=settings.port, version=__version__)
            await _serve(settings, controller, leading)
        finally:
            for task in (leading, *others):
                task.cancel()
            await asyncio.wait({leading, *others})


def _made(settings: Settings, store: Store, mirror: Mirror, candidate: Candidate, meter: Meter) -> Controller:
    folder, books = settings.folder, Books(store, mirror)
    authority, ca_pem = folder.authority(), folder.ca.read_bytes()
    for result in webhook.RESULTS:
        meter.expect(incident_posts.FAMILY, result)
    bars, loads = Bars(mirror, books, authority, ca_pem), Loads()
    return Controller(
        name=settings.name,
        store=store,
        mirror=mirror,
        books=books,
        links=Links(mirror, candidate.demand, bars, loads),
        loads=loads,
        candidate=candidate,
        authority=authority,
        ca_pem=ca_pem,
        own=OwnTls(folder.ca, folder.pair),
        bars=bars,
        limits=Limits(),
        certificate_s=settings.certificate_s,
        meter=meter,
        traces=Traces(_sender(settings, meter)),
        renews_people=settings.renew_people,
        answers=AnswerOrders(at_once=settings.evacuate_failing),
        powers=Powers(settings.folder.path),
        incidents_url=settings.incidents_url,
        sensor_rules=sensor_rules.load(settings.folder.path),
    )


def _sender(settings: Settings, meter: Meter) -> Sender | None:
    for result in spans.RESULTS:
        meter.expect("segue_trace_spans_total", result)

    def booked(result: str, number: int) -> None:
        meter.count("segue_trace_spans_total", result, by=number)

    return (
        Sender(settings.traces_url, "segue-controller", settings.name, booked)
        if settings.traces_url
        else None
    )


def application(controller: Controller) -> FastAPI:
    """The API with its errors."""
    app = FastAPI(title="segue controller", version=__version__, docs_url=None, redoc_url=None)
    app.state.controller = controller
    app.state.demand_not_barred = controller.bars.demand
    for part in PARTS:
        app.include_router(part.router)
    api_doc.describe(app)
    app.add_middleware(SmallBodies, most_bytes=BODY_BYTES)
    app.add_middleware(Candour)
    app.add_exception_handler(SegueError, show_error)
    app.add_exception_handler(HTTPException, show_http)
    app.add_exception_handler(RequestValidationError, show_bad_input)
    app.add_exception_handler(Exception, show_bug)
    return app


async def _serve(settings: Settings, controller: Controller, leading: asyncio.Task[None]) -> None:
    at, link = (settings.address, settings.port), {"ws_max_size": FRAME_BYTES, "ws_ping_interval": None}
    servers = [serving.over_tls(application(controller), at, controller.own, ssl.CERT_OPTIONAL, **link)]
    if settings.metrics_address:
        alone = metrics_page.alone(api_metrics.shown, {"controller": controller}, serving.QUIET)
        servers.append(serving.plain(alone, metrics_page.listener(settings.metrics_address)))
    # A connection that an agent keeps must not hold up the end.
    await serving.until_told(servers, also=leading.cancel)
