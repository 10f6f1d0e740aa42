"""Starts the agent: journal, QEMU's capabilities, guests as they stand, then the two servers."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import socket
import ssl
from functools import partial
from pathlib import Path
from typing import TextIO

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pyroute2 import AsyncIPRoute

from segue import __version__
from segue.adapters import peer, priority, system
from segue.adapters.criu import look
from segue.adapters.http import metrics_page, serving
from segue.adapters.http.bodies import SmallBodies
from segue.adapters.http.problems import show_bad_input, show_bug, show_error
from segue.adapters.metrics import Meter
from segue.adapters.net.enclave import Enclave
from segue.adapters.net.links import Links
from segue.adapters.net.overlay import Overlays
from segue.adapters.net.steering import Steering
from segue.adapters.oci import runtime
from segue.adapters.oci.places import AppPlaces
from segue.adapters.own_tls import OwnTls
from segue.adapters.pki import Pair
from segue.adapters.qemu import capabilities
from segue.adapters.qemu.command import Places
from segue.adapters.spans import Sender
from segue.adapters.storage.beat import Beats
from segue.adapters.store.journal import Journal
from segue.agent import (
    api_app,
    api_burn_in,
    api_health,
    api_incidents,
    api_jobs,
    api_lease,
    api_load,
    api_metrics,
    api_peer,
    api_succession,
    api_update,
    api_user,
    health,
    hooks,
    kept,
    link,
    old_journal,
    tied,
    updates,
)
from segue.agent.aftercare import Caretaker
from segue.agent.app import Agent
from segue.agent.apps import Apps
from segue.agent.beforehand import Beforehand
from segue.agent.boards import Boards
from segue.agent.channels import Protection
from segue.agent.config import Config
from segue.agent.crashes import Crashes
from segue.agent.daemons import Daemons
from segue.agent.failpoints import Failpoints
from segue.agent.figures import Figures
from segue.agent.flows import Flows
from segue.agent.guard_line import GuardLine
from segue.agent.guests import Guests
from segue.agent.here import ThisHost
from segue.agent.intake import Intake
from segue.agent.jobs import Jobs
from segue.agent.lease import Lease
from segue.agent.link_share import LinkShare
from segue.agent.loads import Loads
from segue.agent.metadata import Metadata
from segue.agent.migrations import Migrations
from segue.agent.networks import Networks
from segue.agent.notices import Notices
from segue.agent.pulling import Pulling
from segue.agent.renewal import Renewal
from segue.agent.senses import HostSenses
from segue.agent.services import Services
from segue.agent.traces import Traces
from segue.agent.trust import Trust
from segue.errors import Kind, Refused, SegueError
from segue.model import metrics

log = structlog.get_logger()


async def serve(config: Config) -> None:
    """Runs until told to stop; guests and migrations stay as they are. Raises Refused when it cannot start."""
    lock = _lock(config)
    _make_folders(config)
    journal, is_old = old_journal.opened(config)
    own = _own(config, trust := Trust(journal, config.tls.ca))
    async with AsyncIPRoute() as netlink, peer.session(own.client()) as session:
        links = Links(netlink)
        boards, protection = Boards(journal), Protection(config)
        daemons = Daemons(config, protection)
        figures, notices = Figures(Meter(metrics.AGENT)), Notices()
        services = Services(
            config=config,
            journal=journal,
            links=links,
            steering=Steering(netlink, links),
            networks=Networks(config, Overlays(netlink, links)),
            flows=Flows(),
            session=session,
            peers={},
            capabilities=await capabilities.ask(config.run_dir, config.qemu_user),
            notices=notices,
            failpoints=Failpoints(config.failpoints),
            protection=protection,
            share=LinkShare(config.migration_bandwidth_bytes_per_s),
            boards=boards,
            care=Caretaker(boards),
            metadata=Metadata(Enclave(netlink, links), boards),
            daemons=daemons,
            intake=Intake(config, journal, protection, daemons),
            pulling=Pulling(config, journal),
            own=own,
            trust=trust,
            figures=figures,
            traces=Traces(journal, _sender(config, figures)),
            crashes=_crashes(config, journal, notices, figures),
            apps=Apps(config, netlink, links, await runtime.version(), await look.engine()),
            lease=_lease(config, journal),
            beats=Beats(config.name, config.shared_dir, system.boot_id()),
        )
        await _open(services)
        guests = Guests(services)
        agent = _agent(services, guests)
        await old_journal.take_up(journal, guests, is_old)
        agent.migrations.take_up()
        _make_quick()
        log.info("agent serves", host=config.name, version=__version__, qemu=services.capabilities.version)
        await _serve(config, agent)
    journal.close()
    lock.close()


def _make_quick() -> None:
    """What is there now stays: without this a collection would look through all of it, 50 ms, in some blackout."""
    gc.collect()
    gc.freeze()
    priority.mind_session()


def _agent(services: Services, guests: Guests) -> Agent:
    migrations = Migrations(services, guests, Beforehand(services, guests))
    watch = health.build(services.config, guests, migrations, services.notices)
    services.crashes.senses.health = watch.shown
    jobs = Jobs(services.config, services.journal.jobs, system.boot_id(), guests)
    agent = Agent(services, guests, migrations, Loads(services.config, guests), watch, jobs)
    services.figures.meter.shows(lambda: services.figures.look(agent))
    return agent


def _lease(config: Config, journal: Journal) -> Lease:
    journal.leases.keep_ends_in(config.run_dir / "lease-ends")
    line = GuardLine(config.run_dir / "guard.sock")
    return Lease(config.name, config.lease, journal.leases, line)


def _crashes(config: Config, journal: Journal, notices: Notices, figures: Figures) -> Crashes:
    senses = HostSenses(
        lambda guest: Places(config.run_dir / "guests" / guest.name),
        lambda guest: AppPlaces(guest.name, config.run_dir, config.apps_dir),
        config.health.kmsg,
    )
    return Crashes(config.name, journal, notices, figures, senses, partial(tied.to_its_host, config))


async def _open(services: Services) -> None:
    """What the guests find here, and the agents that it may meet."""
    services.lease.peers = services.peers
    services.meet_all({**services.journal.neighbours(), **services.config.peers})
    await services.metadata.open()
    await services.networks.make()
    services.beats.start()


def _sender(config: Config, figures: Figures) -> Sender | None:
    return Sender(config.traces_url, "segue-agent", config.name, figures.spans) if config.traces_url else None


def _make_folders(config: Config) -> None:
    """The journal is root's alone; guests' users only pass through its folder, to disks that lie below it."""
    config.run_dir.mkdir(parents=True, exist_ok=True)
    config.disks_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    config.apps_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
    config.state_dir.chmod(0o711)
    Path(config.state_dir / "journal.db").touch(0o600)
    for path in config.state_dir.glob("journal.db*"):
        path.chmod(0o600)


def application(agent: Agent) -> FastAPI:
    """The API with its errors."""
    app = FastAPI(title="segue agent", version=__version__, docs_url=None, redoc_url=None)
    app.state.agent = agent
    app.state.demand_not_barred = agent.services.trust.demand
    app.include_router(api_peer.urgent_router)
    app.include_router(api_user.open_router)
    app.include_router(api_user.router)
    app.include_router(api_app.open_router)
    app.include_router(api_app.router)
    app.include_router(api_load.router)
    app.include_router(api_update.router)
    app.include_router(api_health.router)
    app.include_router(api_burn_in.router)
    app.include_router(api_incidents.router)
    app.include_router(api_jobs.router)
    app.include_router(api_succession.router)
    app.include_router(api_lease.router)
    app.include_router(api_lease.peer_router)
    app.include_router(api_peer.router)
    app.include_router(api_metrics.router)
    app.add_middleware(SmallBodies, most_bytes=api_peer.BODY_BYTES_MAX, but=api_app.LARGE)
    app.add_exception_handler(SegueError, show_error)
    app.add_exception_handler(RequestValidationError, show_bad_input)
    app.add_exception_handler(Exception, show_bug)
    return app


async def _serve(config: Config, agent: Agent) -> None:
    app, own = application(agent), agent.services.own
    servers = [
        serving.over_tls(app, (config.address, config.port), own, ssl.CERT_REQUIRED),
        serving.on_local_socket(app, _local_socket(config.socket)),
    ]
    if config.metrics_address:
        alone = metrics_page.alone(api_metrics.shown, {"agent": agent}, serving.QUIET)
        servers.append(serving.plain(alone, metrics_page.listener(config.metrics_address)))
    tasks = [
        asyncio.create_task(agent.guests.keep()),
        asyncio.create_task(kept.sweep(agent.services.journal.disks)),
        asyncio.create_task(agent.loads.keep()),
        asyncio.create_task(updates.keep(agent)),
        asyncio.create_task(agent.services.traces.keep(agent)),
        asyncio.create_task(agent.health.run()),
        asyncio.create_task(agent.services.lease.keep()),
    ]
    if config.incidents_url:
        tasks.append(asyncio.create_task(hooks.keep(agent.services)))
    if config.controllers:
        tasks.append(asyncio.create_task(link.keep(_way(config, agent), ThisHost(agent))))
    await serving.until_told(servers)
    for task in tasks:
        task.cancel()


def _way(config: Config, agent: Agent) -> link.Way:
    own = agent.services.own
    context = own.client()
    return link.Way(
        controllers=config.controllers,
        tls=lambda: context,
        own_socket=config.socket,
        own_url=f"https://{config.address}:{config.port}",
        labels=config.labels,
        renewal=Renewal(own, config.name),
    )


def _local_socket(path: Path) -> socket.socket:
    """For root alone: made by us, because uvicorn opens a socket of its own making to everybody."""
    path.unlink(missing_ok=True)
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    local.bind(str(path))
    path.chmod(0o600)
    return local


def _own(config: Config, trust: Trust) -> OwnTls:
    tls = config.tls
    try:
        own = OwnTls(tls.ca, Pair(tls.cert, tls.key), trust.demand)
        own.client()
    except (ssl.SSLError, OSError) as error:
        raise Refused(
            what="the agent cannot start",
            why=f"its certificate cannot be used: {error}",
            todo=f"Look at {tls.cert} and {tls.key}: PEM files that belong together, from the fleet's CA.",
            kind=Kind.AUTH,
        ) from error
    return own


def _lock(config: Config) -> TextIO:
    """One agent per journal: two would both believe that they keep these guests."""
    config.state_dir.mkdir(parents=True, exist_ok=True)
    file = Path(config.state_dir / "agent.lock").open("w")  # noqa: SIM115 - held for as long as the agent lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise Refused(
            what="the agent cannot start",
            why=f"another agent already uses {config.state_dir}",
            todo="Stop the other one first; a host has one agent.",
            kind=Kind.CONFLICT,
        ) from error
    return file
