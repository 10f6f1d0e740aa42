"""Starts migrations, takes them up again after a restart, and cancels them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import structlog

from segue.adapters import chance, clock, logs
from segue.adapters.clock import RealClock
from segue.adapters.store.journal import Marks
from segue.agent import foresight
from segue.agent.beforehand import Beforehand, busy, shape_for
from segue.agent.boards import MigrationNotice
from segue.agent.guests import Guests
from segue.agent.in_place import CustodyInPlace, GuestInPlace, PeerInPlace
from segue.agent.keeper import Keeper
from segue.agent.network_in_place import NetworkInPlace
from segue.agent.record import MigrationRecord
from segue.agent.services import Services
from segue.agent.source import SourceCustody, SourceGuest
from segue.agent.source_app import SourceApp
from segue.agent.source_app_network import AppNetwork
from segue.agent.source_disks import SourceDisks
from segue.agent.source_network import SourceNetwork
from segue.agent.wiring import Between, InPlace, wire
from segue.engine import migrate
from segue.engine.run import Run
from segue.engine.saga import Runner
from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.model.lifecycle import Event, Stage
from segue.model.migration import Limits, Migration, seen_s
from segue.model.observation import Observation
from segue.policy import budgets, compatibility, wishes

log = structlog.get_logger()


class Migrations:
    """The migrations whose source is this host."""

    def __init__(self, services: Services, guests: Guests, beforehand: Beforehand) -> None:
        self.beforehand = beforehand
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

    async def begin(
        self, keeper: Keeper, to: str, limits: Limits, *, force: bool = False, traceparent: str = ""
    ) -> Migration:
        """Checks, forecasts and starts; returns at once with the record. `force`: against the forecast.

        traceparent: of whoever asks for it.
        """
        guest = self.beforehand.movable(keeper, to)
        limits = budgets.limits_of(guest, limits)
        compatibility.refuse(guest, to, wishes.wrong(limits))
        with self.starting(guest):
            agreed = await self.beforehand.checked(keeper, to, limits)
            foreseen = await self.beforehand.measured(keeper, to, limits, agreed)
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
                shape=shape_for(foreseen, limits, agreed.version),
                application=guest.is_app,
                trace=self._services.traces.begin(traceparent),
            )
            self.start(keeper, migration)
            return migration

    async def begin_cold(self, keeper: Keeper, to: str, traceparent: str = "") -> Migration:
        """A guest that crashed here, and is to be started there. Raises Refused with every reason."""
        guest = self.beforehand.startable(keeper, to)
        with self.starting(guest):
            version = await self.beforehand.agreed_cold(guest, to)
            migration = Migration(
                id=chance.new_id(),
                guest=guest.name,
                source=self._services.config.name,
                target=to,
                limits=Limits(),
                started_s=clock.wall_s(),
                wire=version,
                cold=True,
                trace=self._services.traces.begin(traceparent),
            )
            self.beforehand.startable(keeper, to)  # It may just have been started here.
            self.start(keeper, migration)
            return migration

    @contextlib.contextmanager
    def starting(self, guest: Guest) -> Iterator[None]:
        """Until it has started no other does. Raises Refused where one is just being started."""
        if guest.uuid in self._starting:
            raise busy(guest.name, "a migration of it is just being started")
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
            SourceCustody(
                services, keeper, migration.target, migration.id, record.doubt, cold=migration.cold
            ),
        )

    async def _carry_out(self, keeper: Keeper, runner: Runner[Run], run: Run) -> None:
        number = run.record.now.id
        keys = self._name_in_logs(keeper, run.record.now)
        try:
            await migrate.carry_out(runner, run)
            self._services.crashes.started_elsewhere(keeper.uuid, run.record.now)
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
