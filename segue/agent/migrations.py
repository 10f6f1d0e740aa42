"""Starts migrations, takes them up again after a restart, and cancels them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from segue.adapters import chance, clock, logs, system
from segue.adapters.peer import PeerClient, expired_on
from segue.adapters.qemu import queues
from segue.adapters.store.journal import Marks
from segue.agent import app_checks, foresight, source_disks
from segue.agent.boards import MigrationNotice
from segue.agent.config import Config
from segue.agent.guests import Guests
from segue.agent.in_place import CustodyInPlace, GuestInPlace, PeerInPlace
from segue.agent.keeper import Keeper
from segue.agent.network_in_place import NetworkInPlace
from segue.agent.record import MigrationRecord
from segue.agent.services import Services
from segue.agent.source import SourceCustody, SourceGuest
from segue.agent.source_app import AppNetwork, SourceApp
from segue.agent.source_disks import SourceDisks
from segue.agent.source_network import SourceNetwork
from segue.agent.target import missing_files
from segue.agent.wiring import Between, InPlace, RealClock, wire
from segue.engine import migrate
from segue.engine.run import Run
from segue.engine.saga import Runner
from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.model.handoff import Copy, Phase
from segue.model.host import HostFacts
from segue.model.ladder import Shape
from segue.model.lifecycle import Event, Stage
from segue.model.migration import Forecast, Limits, Migration, seen_s
from segue.model.observation import Observation
from segue.model.storage import DiskCopy
from segue.policy import budgets, compatibility, shape, wishes
from segue.wire import offer
from segue.wire.offer import Feature

log = structlog.get_logger()


@dataclass(frozen=True)
class Agreed:
    """What the two agents found out before anything is begun."""

    version: int
    copies: tuple[DiskCopy, ...]


class Migrations:
    """The migrations whose source is this host."""

    def __init__(self, services: Services, guests: Guests) -> None:
        self._services = services
        self._guests = guests
        self._records: dict[str, MigrationRecord] = {}
        self._runners: dict[str, Runner[Run]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: set[str] = set()

    def take_up(self) -> None:
        """After a start of the agent: every migration goes on where the journal says it stood."""
        for migration in self._services.journal.migrations():
            if migration.ended:
                continue
            keeper = self._guests.keeper_of(migration)
            log.info(
                "migration taken up",
                migration=migration.id,
                guest=migration.guest,
                stage=migration.stage,
                here=keeper is not None,
            )
            if keeper is not None:
                self._launch(keeper, migration)
            else:
                self._close(migration)

    def _close(self, migration: Migration) -> None:
        """Nothing of the guest is here any more: only the record was left to be ended."""
        settling = migration.stage is Stage.POST_BLACKOUT
        record = MigrationRecord(self._services.journal, self._services.notices, migration)
        record.advance(Event.SETTLED if settling else Event.GUEST_ENDED)
        self._services.figures.ended(record.now)
        self._services.traces.ended(record.now)

    async def foresee(self, keeper: Keeper, to: str, limits: Limits) -> Forecast:
        """All checks and the forecast; nothing is changed. Raises Refused with every reason."""
        limits = budgets.limits_of(keeper.guest_here(), limits)
        compatibility.refuse(keeper.guest_here(), to, wishes.wrong(limits))
        agreed = await self._checked(keeper, to, limits)
        return await self._measured(keeper, to, limits, agreed)

    async def _measured(self, keeper: Keeper, to: str, limits: Limits, agreed: Agreed) -> Forecast:
        if keeper.guest_here().is_app:
            return await app_checks.measure(self._services, keeper, self._services.peer(to))
        return await foresight.measure(self._services, keeper, self._services.peer(to), limits, agreed.copies)

    async def _checked(self, keeper: Keeper, to: str, limits: Limits) -> Agreed:
        """What both agents can do together. Raises Refused with every reason why the guest cannot be moved."""
        guest = self._movable(keeper, to)
        peer = self._services.peer(to)
        theirs = await self._ask(peer)
        self._same_installation(theirs)
        ours = self._guests.facts()
        version = offer.common(ours, theirs)
        common = str(self._services.config.shared_dir)
        plan = await source_disks.survey(guest, peer, version, pull=limits.storage_postcopy, common=common)
        reasons = compatibility.between(guest, ours, theirs)
        encrypted = self._services.protection.required
        reasons += offer.obstacles(
            ours, theirs, needs(guest, limits, encrypted=encrypted, copies=bool(plan.copies))
        )
        reasons += (
            compatibility.against_post_copy(theirs, disks=bool(plan.copies)) if limits.post_copy else ()
        )
        if keeper.machine is not None:
            reasons += compatibility.queue_obstacles(await queues.entries(keeper.machine.monitor), theirs)
        if guest.is_app:
            reasons += app_checks.obstacles(self._services, guest, theirs, limits)
        reasons += compatibility.obstacles(guest, theirs, compatibility.Already(theirs.guests))
        compatibility.refuse(guest, to, reasons + plan.obstacles)
        compatibility.refuse(
            guest, to, tuple(f"its file {p} is gone from here" for p in missing_files(guest))
        )
        return Agreed(version, plan.copies)

    async def begin(
        self, keeper: Keeper, to: str, limits: Limits, *, force: bool = False, traceparent: str = ""
    ) -> Migration:
        """Checks, forecasts and starts; returns at once with the record. `force`: against the forecast.

        traceparent: of whoever asks for it.
        """
        guest = self._movable(keeper, to)
        limits = budgets.limits_of(guest, limits)
        compatibility.refuse(guest, to, wishes.wrong(limits))
        with self.starting(guest):
            agreed = await self._checked(keeper, to, limits)
            foreseen = await self._measured(keeper, to, limits, agreed)
            if not force:
                foresight.demand(guest.name, to, foreseen, limits)
            migration = Migration(
                id=chance.new_id(),
                guest=guest.name,
                source=self._services.config.name,
                target=to,
                limits=limits,
                started_s=clock.wall_s(),
                forecast=foreseen,
                wire=agreed.version,
                copies=agreed.copies,
                shape=_shape(foreseen, limits, agreed.version),
                application=guest.is_app,
                trace=self._services.traces.begin(traceparent),
            )
            self.start(keeper, migration)
            return migration

    @contextlib.contextmanager
    def starting(self, guest: Guest) -> Iterator[None]:
        """Until it has started no other does. Raises Refused where one is just being started."""
        if guest.uuid in self._starting:
            raise _busy(guest.name, "a migration of it is just being started")
        self._starting.add(guest.uuid)
        try:
            yield
        finally:
            self._starting.discard(guest.uuid)

    def start(self, keeper: Keeper, migration: Migration) -> None:
        """All was checked: from here on it is in the journal, and goes on after whatever happens to the agent."""
        self._services.journal.put_migration(migration)
        self._launch(keeper, migration)

    def cancel(self, migration: Migration) -> None:
        """Before the handoff only; the undo goes on by itself. Raises Refused when it is too late."""
        runner = self._runners.get(migration.id)
        if runner is None or not runner.cancel():
            stage = self.record(migration.id).stage.value
            raise Refused(
                what=f"the migration of {migration.guest} is not cancelled",
                why=f"it is in {stage}; only a migration before its handoff can be taken back",
                todo="Let it end, then migrate the guest back.",
                kind=Kind.CONFLICT,
            )

    def record(self, number: str) -> Migration:
        """One record by its id or the beginning of it."""
        if number in self._records:
            return self._records[number].now
        found = self._services.journal.migration(number)
        if found is None:
            raise Refused(
                what=f"there is no migration {number} from {self._services.config.name}",
                why="this agent has no record of it, or more than one begins like that",
                todo="`segue migration list` shows all.",
                kind=Kind.NOT_FOUND,
            )
        return self._records[found.id].now if found.id in self._records else found

    def records(self) -> list[Migration]:
        """All records, newest first, those under way as they stand."""
        kept = self._services.journal.migrations()
        return [self._records[m.id].now if m.id in self._records else m for m in kept]

    def under_way(self) -> list[Migration]:
        """Those that have not ended, as they stand."""
        return [record.now for record in self._records.values()]

    def standing(self) -> bool:
        """True while a guest that leaves this host stands still."""
        return any(record.now.stage is Stage.BLACKOUT for record in self._records.values())

    def observe(self, migration: Migration, observation: Observation) -> Migration:
        """Keeps what a client saw of it."""
        record = self._records.get(migration.id) or MigrationRecord(
            self._services.journal, self._services.notices, migration
        )
        record.observe(observation)
        self._services.figures.observed(observation, seen_s(record.now, observation))
        return record.now

    def _launch(self, keeper: Keeper, migration: Migration) -> None:
        record = MigrationRecord(self._services.journal, self._services.notices, migration)
        self._records[migration.id] = record
        run = self._run_of(keeper, migration, record)
        runner = migrate.runner(
            run, Marks(self._services.journal, migration.id, self._services.failpoints.hit)
        )
        self._runners[migration.id] = runner
        keeper.in_saga, keeper.confirmed_at_s = True, 0.0
        task = asyncio.create_task(self._carry_out(keeper, runner, run), name=f"migration {migration.id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run_of(self, keeper: Keeper, migration: Migration, record: MigrationRecord) -> Run:
        """The ports through which the engine moves it."""
        return wire(
            keeper.guest_here(),
            self._parts(keeper, migration, record),
            SourceDisks(self._services, keeper, migration.copies),
            record,
            MigrationNotice(
                self._services.boards, keeper.uuid, migration.id, self._services.config.notice_max_s
            ),
            RealClock(),
        )

    def _parts(self, keeper: Keeper, migration: Migration, record: MigrationRecord) -> Between | InPlace:
        services = self._services
        if migration.in_place:
            return InPlace(
                GuestInPlace(keeper, services.protection, services.share),
                NetworkInPlace(services, keeper, migration),
                PeerInPlace(services, keeper),
                CustodyInPlace(keeper, migration.id),
            )
        if keeper.guest_here().is_app:
            return Between(
                SourceApp(services, keeper),
                AppNetwork(services, keeper, migration),
                services.peer(migration.target),
                SourceCustody(services, keeper, migration.target, migration.id, record.doubt),
            )
        return Between(
            SourceGuest(keeper, services.protection, services.share),
            SourceNetwork(services, keeper, migration),
            services.peer(migration.target),
            SourceCustody(services, keeper, migration.target, migration.id, record.doubt),
        )

    async def _carry_out(self, keeper: Keeper, runner: Runner[Run], run: Run) -> None:
        number = run.record.now.id
        keys = self._name_in_logs(keeper, run.record.now)
        try:
            await migrate.carry_out(runner, run)
            self._services.figures.ended(run.record.now)
            self._services.traces.ended(run.record.now)
            await self._services.protection.withdraw(run.guest, keeper.resident.machine)
        finally:
            await self._services.share.leave(number)
            keeper.in_saga = False
            self._runners.pop(number, None)
            self._records.pop(number, None)
            keeper.announce()
            logs.forget(keys)
        self._services.journal.prune()

    def _name_in_logs(self, keeper: Keeper, migration: Migration) -> tuple[str, ...]:
        """All that is written in this migration's task bears its id, all about its guest, too."""
        words = {"guest": migration.guest, "migration": migration.id, "trace": migration.trace.id}
        structlog.contextvars.bind_contextvars(**words)
        keys = (migration.id, migration.guest, keeper.uuid)
        logs.note(keys, **words, source=migration.source, target=migration.target)
        return keys

    def _movable(self, keeper: Keeper, to: str) -> Guest:
        guest = keeper.guest_here()
        if to == self._services.config.name:
            compatibility.refuse(guest, to, ("it is there already; `segue vm update` gives it another QEMU",))
        self._services.peer(to)
        return self.demand_movable(keeper)

    def demand_movable(self, keeper: Keeper) -> Guest:
        """A guest that runs here, and that nothing else is being done with. Raises Refused."""
        guest = keeper.guest_here()
        if keeper.token.phase is not Phase.OWNER or keeper.in_saga:
            raise _busy(guest.name, f"it is {keeper.token.phase} here, a migration is under way")
        if keeper.resident.lacks_memory or keeper.resident.deaf:
            raise _busy(guest.name, "some of its memory is not here yet")
        if origins := self._services.pulling.origins(guest.uuid):
            raise _busy(guest.name, f"its disks are still being pulled from {origins[0].host}")
        if keeper.copy() is not Copy.RUNNING:
            raise _busy(guest.name, f"it is {keeper.state()}; only a running guest can be moved live")
        return guest

    async def _ask(self, peer: PeerClient) -> HostFacts:
        try:
            return await peer.facts()
        except (ConnectionError, TimeoutError) as error:
            if day := expired_on(str(self._services.config.tls.cert)):
                raise _expired(peer.name, self._services.config, day) from error
            raise Refused(
                what=f"{peer.name} cannot be reached",
                why=str(error),
                todo=f"Look whether the agent runs on {peer.name} and the fabric between the hosts works.",
                kind=Kind.UNREACHABLE,
            ) from error

    def _same_installation(self, theirs: HostFacts) -> None:
        known = self._services.journal.peer_instance(theirs.name)
        if not known:
            self._services.journal.put_peer(theirs.name, theirs.instance)
        elif known != theirs.instance:
            raise Refused(
                what=f"{theirs.name} is not trusted",
                why="another agent now answers under that name than the one known here: it was installed anew, "
                "or two hosts have the same name",
                todo=f"If it was installed anew: `segue host forget {theirs.name}` on {self._services.config.name}.",
                kind=Kind.CONFLICT,
            )


def needs(guest: Guest, limits: Limits, *, encrypted: bool, copies: bool) -> Iterator[Feature]:
    """What the target's agent has to understand to take this guest in."""
    if encrypted:
        yield Feature.MEMORY_TLS
    if copies:
        yield Feature.LOCAL_DISKS
    if len(guest.nics) > 1:
        yield Feature.SEVERAL_NICS
    if guest.uid:
        yield Feature.OWN_USER
    if guest.watched:
        yield Feature.WATCHED
    if limits.post_copy:
        yield Feature.POSTCOPY


def _shape(foreseen: Forecast, limits: Limits, version: int) -> Shape:
    """As the forecast asks for, where the target understands it: the copy does without just as well."""
    if not offer.knows(Feature.CHANNELS, version):
        throttle = shape.may_throttle(foreseen, limits)
        return Shape(reason="the target's agent knows one plain connection only", throttle=throttle)
    return shape.choose(foreseen, limits, system.cpus())


def _expired(peer: str, config: Config, day: str) -> Refused:
    return Refused(
        what=f"{peer} does not trust {config.name}",
        why=f"the certificate of {config.name}, {config.tls.cert}, expired on {day}",
        todo=f"Renew it and restart the agent on {config.name}; its guests run on.",
        kind=Kind.AUTH,
    )


def _busy(name: str, why: str) -> Refused:
    return Refused(
        what=f"{name} cannot be moved now",
        why=why,
        todo=f"Look with `segue vm show {name}` and `segue migration list`.",
        kind=Kind.CONFLICT,
    )
