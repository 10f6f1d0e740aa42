"""The real agent on a simulated host: keepers, journal, sagas, API and link; only its hands are exchanged here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec

from segue.adapters import clock
from segue.adapters.clock import RealClock
from segue.adapters.http.access import Caller
from segue.adapters.metrics import Meter
from segue.adapters.peer import CALL_S, PeerClient
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.memory_landing import MemoryLanding
from segue.agent import plant
from segue.agent.aftercare import Caretaker
from segue.agent.app import Agent
from segue.agent.beforehand import Agreed, Beforehand
from segue.agent.boards import Boards, MigrationNotice
from segue.agent.channels import Protection
from segue.agent.config import Channels, Config, Tls
from segue.agent.crashes import Crashes
from segue.agent.failpoints import Failpoints
from segue.agent.figures import Figures as Booked
from segue.agent.flows import Flows
from segue.agent.guests import Guests
from segue.agent.intake import Intake
from segue.agent.jobs import Jobs
from segue.agent.keeper import Keeper
from segue.agent.lease import Lease
from segue.agent.lease_config import LeaseConfig
from segue.agent.link_share import LinkShare
from segue.agent.maintenance_config import MaintenanceConfig
from segue.agent.migrations import Migrations
from segue.agent.notices import Notices
from segue.agent.pulling import Pulling
from segue.agent.record import MigrationRecord
from segue.agent.resident import Resident
from segue.agent.resident_machine import MachineResident
from segue.agent.services import Services
from segue.agent.source import SourceCustody
from segue.agent.traces import Traces
from segue.agent.trust import Trust
from segue.engine.run import Run
from segue.model.foresight import Figures
from segue.model.guest import Guest
from segue.model.health import Health
from segue.model.host import HostFacts
from segue.model.incident import Evidence
from segue.model.landing import Placement
from segue.model.metrics import AGENT
from segue.model.migration import Forecast, Limits, Migration
from segue.policy import forecast, lessons
from segue.policy.crash import Pulse
from segue.sim import ailing, upkeep
from segue.sim.beats import SimBeats
from segue.sim.guard import SimGuardLine
from segue.sim.host import SimHost
from segue.sim.ports import SimDisks, SimGuestHere, SimNetwork
from segue.sim.qemu import START_S, SimLanding, SimMachine
from segue.sim.uses import SimLoads
from segue.wire import problem

MEASURE_S = 0.6
"""As long as a real forecast measures."""
NOWHERE = Path("/nowhere")


class SimPeer(PeerClient):
    """The real client of another agent; only the way there is simulated."""

    def __init__(self, host: SimHost, name: str) -> None:
        self._host = host
        self.name = name
        there = host.world.hosts.get(name)
        self.url = f"https://{there.address}:7443" if there else "https://nowhere:7443"

    async def _call(self, method: str, path: str, body: object = None, *, within_s: float = CALL_S) -> bytes:
        data = body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        there, caller = self._host.world.hosts.get(self.name), Caller("host", self._host.name)
        if there is None:
            raise ConnectionError(f"{self.name} does not answer: no such host")
        try:
            async with asyncio.timeout(within_s):
                reply = await self._host.world.fabric.ask(
                    self._host.name, self.name, lambda: there.answer(caller, method, path, data)
                )
        except TimeoutError as error:
            raise TimeoutError(f"{self.name} did not answer within {within_s:g} s") from error
        if reply.status >= 400:
            raise problem.error_of(reply.body, self.name)
        return bytes(reply.body)


class SimServices(Services):
    """Meets hosts of the same world."""

    host: SimHost

    def meet(self, name: str, url: str) -> None:
        """See Services."""
        self.config.peers[name] = url
        self.peers[name] = SimPeer(self.host, name)


class _Devices:
    """What `Links`, `Steering`, `Networks` and `Metadata` do on a real host, as far as something may be left of it."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    async def index(self, name: str) -> int | None:
        return 1 if name in self._host.devices else None

    async def remove(self, name: str) -> None:
        self._host.drop_devices(name)

    async def prepare_target(self, tap: str, tunnel: str, number: int, local: str, remote: str) -> None:
        self._host.keep_devices(tunnel)

    async def open_target(self, tap: str) -> None:
        """Nothing is left of it."""

    async def guest_is_here(self, guest: Guest) -> None:
        """Overlays are not simulated."""

    async def attach(self, guest: Guest) -> None:
        """The guest's metadata service is not simulated."""

    async def detach(self, guest: Guest) -> None:
        """The same."""


class _Open(Protection):
    """Plain channels: what they carry is a number."""

    def __init__(self) -> None:
        """No vault."""

    required = False

    def secret(self, guest: Guest, migration: str) -> str:
        return ""

    def demand_agreed(self, placement: Placement) -> None:
        """Nothing to agree on."""

    def keep(self, placement: Placement) -> None:
        """No key."""

    async def offer(self, *_args: Any) -> str:
        return ""

    def guard(self, pid: int, address: str, peers: set[str]) -> None:
        """No socket."""

    async def withdraw(self, guest: Guest, machine: Machine | None) -> None:
        """No key."""

    def forget(self, guest: Guest) -> None:
        """No key."""


class _NoDisks(Intake):
    """Guests whose disks are on shared storage: nothing is taken in."""

    def __init__(self) -> None:
        """No daemon."""

    async def close(self, guest: Guest) -> None:
        """Nothing is open."""

    def settle(self, guest: str) -> None:
        """Nothing came."""

    def holds(self, guest: str) -> bool:
        return False

    async def drop(self, guest: Guest) -> None:
        """Nothing came."""


class _NoSenses:
    """Fits `Senses` of agent/senses.py: logs are not simulated, and nobody hangs."""

    def __init__(self) -> None:
        self.health: Callable[[], Health | None] = lambda: None

    async def evidence(self, guest: Guest, machine: Machine | None) -> tuple[Evidence, ...]:
        """See Senses."""
        return ()

    async def evidence_of_app(self, guest: Guest, how: str) -> tuple[Evidence, ...]:
        """See Senses."""
        return ()

    async def pulse(self, guest: Guest, machine: Machine) -> Pulse | None:
        """See Senses."""
        return Pulse(clock.steady_s(), answers=False, moved=0)


class _Places(Failpoints):
    def __init__(self, host: SimHost) -> None:
        self._host = host

    def hit(self, place: str) -> None:
        self._host.hit(place)


class SimResident(MachineResident):
    """The real one, in whose place QEMU is simulated."""

    _services: SimServices

    async def _find(self, guest: Guest) -> Machine | None:
        found = self._services.host.qemus.get(guest.uuid)
        return SimMachine(found) if found is not None else None

    async def _start(self, guest: Guest, *, incoming: bool) -> Machine:
        await asyncio.sleep(START_S)
        return SimMachine(self._services.host.start_qemu(guest, incoming=incoming))

    async def _remove(self, guest: Guest) -> None:
        if self.machine is not None:
            await self.machine.end()
        await plant.clear_network(self._services, guest)

    @property
    def qemu(self) -> tuple[str, bool]:
        """See Resident."""
        return "", False

    async def _find_beside(self, guest: Guest, migration: str) -> Machine | None:
        return None  # No guest of a rehearsal changes its QEMU in place.

    async def _end_beside(self, machine: Machine | None) -> None:
        return

    def _landing_of(self, machine: Machine) -> MemoryLanding:
        assert isinstance(machine, SimMachine)
        return SimLanding(machine)


class SimKeeper(Keeper):
    """The real one."""

    lives_in: ClassVar[type[Resident]] = SimResident


class SimGuests(Guests):
    """The real one, on a host that tells other facts."""

    kept_by: ClassVar[type[Keeper]] = SimKeeper
    _services: SimServices

    def facts(self) -> HostFacts:
        """See Guests."""
        held = self._services.lease
        facts = self._services.host.facts(self.promised_bytes())
        return replace(facts, lease=held.facts(), denials=held.denials())


class SimBeforehand(Beforehand):
    """The real one; what it would measure is drawn by the world."""

    _services: SimServices

    async def measured(self, keeper: Keeper, to: str, limits: Limits, agreed: Agreed) -> Forecast:
        await asyncio.sleep(MEASURE_S)
        host, guest = self._services.host, keeper.guest_here()
        load = host.world.loads[guest.name]
        writes = (
            (0.1, load.dirty_bytes_per_s),
            (1.0, min(load.dirty_bytes_per_s, float(load.working_set_bytes))),
        )
        figures = Figures(guest.memory_bytes, host.link_bytes_per_s, writes, 0.001)
        earlier = self._services.journal.migrations()
        learnt = lessons.learn(earlier, guest.name, before_memory=limits.goes_first)
        return forecast.forecast(figures, learnt, limits)


class SimMigrations(Migrations):
    """The real one, on simulated ports."""

    _services: SimServices

    def _run_of(self, keeper: Keeper, migration: Migration, record: MigrationRecord) -> Run:
        services = self._services
        custody = SourceCustody(
            services, keeper, migration.target, migration.id, record.doubt, cold=migration.cold
        )
        notice = MigrationNotice(services.boards, keeper.uuid, migration.id, services.config.notice_max_s)
        return Run(
            guest=keeper.guest_here(),
            here=SimGuestHere(services.host, keeper),
            network=SimNetwork(services.host, keeper),
            disks=SimDisks(),
            peer=services.peer(migration.target),
            custody=custody,
            record=record,
            notice=notice,
            clock=RealClock(),
        )


async def serve(host: SimHost, reports: Callable[[Agent], asyncio.Task[None]]) -> None:
    """As agent/main.py, for as long as the process lives. `reports`: begins what speaks to the controllers."""
    services = _services(host)
    for name, url in host.journal.neighbours().items():
        services.meet(name, url)
    guests = SimGuests(services)
    boot = f"{host.name}-boot-{host.boots}"
    jobs = Jobs(services.config, host.journal.jobs, boot, guests, upkeep.Tools(host), upkeep.read)
    health = ailing.watch(host, boot, RealClock())
    migrations = SimMigrations(services, guests, SimBeforehand(services, guests))
    agent = Agent(services, guests, migrations, SimLoads(host), health, jobs)
    await guests.take_up()
    agent.migrations.take_up()
    host.agent = agent
    beside = (
        reports(agent),
        asyncio.create_task(services.traces.keep(agent)),
        asyncio.create_task(ailing.keep(host, health)),
        *([asyncio.create_task(services.lease.keep())] if host.lease_s else []),
    )
    try:
        await guests.keep()
    finally:
        for task in beside:
            task.cancel()


@cache
def _figures() -> Booked:
    """Nobody reads them: one for all agents of all rehearsals."""
    return Booked(Meter(AGENT))


def _services(host: SimHost) -> SimServices:
    tls = Tls(NOWHERE, NOWHERE, NOWHERE, Channels.OFF)
    may = MaintenanceConfig(commands=True)
    config = Config(
        host.name, host.address, tls, labels=host.labels, peers={}, maintenance=may,
        lease=LeaseConfig(host.lease_s),
    )  # fmt: skip
    devices: Any = _Devices(host)
    boards, notices, booked = Boards(host.journal), Notices(), _figures()
    nothing, installed = cast(Any, None), cast(Any, upkeep.Installed())
    made = SimServices(
        config=config, journal=host.journal, links=devices, steering=devices, networks=devices, flows=Flows(),
        session=nothing, peers={}, capabilities=installed, notices=notices, failpoints=_Places(host),
        protection=_Open(), share=LinkShare(0), boards=boards, care=Caretaker(boards), metadata=devices,
        daemons=nothing, intake=_NoDisks(), pulling=Pulling(config, host.journal),
        own=nothing, trust=Trust(host.journal, NOWHERE), figures=booked,
        traces=Traces(host.journal, None),
        crashes=Crashes(host.name, host.journal, notices, booked, _NoSenses()), apps=nothing,
        lease=Lease(host.name, config.lease, host.journal.leases, SimGuardLine(host)),
        beats=SimBeats(host),
    )  # fmt: skip
    made.host = host
    made.lease.peers = made.peers
    return made
