"""The content of the store in memory, as far as its watch has come; whoever writes, writes to the store."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec
import structlog

from segue.adapters import clock
from segue.engine.store import Store
from segue.errors import Kind, Refused, SegueError
from segue.model.answer import Report, Sensed, Warned
from segue.model.balance import BalanceOrders, BalanceState, BookedMove
from segue.model.fencing import Death, Succession
from segue.model.fleet import Rule
from segue.model.incident import Incident
from segue.model.leadership import HOLDER, Leader
from segue.model.lease import Charter
from segue.model.maintenance import HostWork, Maintenance
from segue.model.membership import OWN, Identity
from segue.model.migration import Migration
from segue.model.plan import Audited
from segue.model.roster import AuditLine, DomainRecord, GuestWishes, HostRecord, HostReport, Token
from segue.model.store import Compacted, Entry, Event
from segue.model.task import Task, Turn
from segue.model.trust import Follower, SignedBarred
from segue.model.verification import Verification
from segue.wire.frames import Shown

log = structlog.get_logger()
T = TypeVar("T")

AGAIN_S: Final = 1.0
REACH_S: Final = 10.0


@dataclass(frozen=True)
class Kept(Generic[T]):
    """A value and the entry that holds it."""

    entry: Entry
    value: T


class Table(Generic[T]):
    """All entries under one prefix, by what follows it in the key."""

    def __init__(self, prefix: str, shape: type[T]) -> None:
        self.prefix = prefix
        self.changes = 0
        """Grows with each: who looked at all of them once need not look again before it has."""
        self._decode: msgspec.json.Decoder[T] = msgspec.json.Decoder(shape)
        self._kept: dict[str, Kept[T]] = {}
        self._under: dict[str, dict[str, None]] = {}

    def key(self, name: str) -> str:
        """The store's key."""
        return self.prefix + name

    def get(self, name: str) -> Kept[T] | None:
        """None where there is no such entry."""
        return self._kept.get(name)

    def items(self) -> Mapping[str, Kept[T]]:
        """All of them, in no order."""
        return self._kept

    def under(self, head: str) -> list[str]:
        """Names of the form HEAD/REST: a host's own among those of a whole fleet, without a look at the others."""
        return list(self._under.get(head, ()))

    def values(self) -> Iterator[T]:
        """All values, by name."""
        return (self._kept[name].value for name in sorted(self._kept))

    def frozen(self) -> Table[T]:
        """As it is now, for a thread that looks at it for longer."""
        made: Table[T] = object.__new__(Table)
        made.__dict__ = {**self.__dict__, "_kept": dict(self._kept)}
        return made

    def clear(self) -> None:
        """Before the store is read anew."""
        self.changes += 1
        self._kept.clear()
        self._under.clear()

    def put(self, key: str, entry: Entry | None) -> None:
        """As the store has it. What cannot be read was written by another version: it is left out, and said."""
        self.changes += 1
        name = key.removeprefix(self.prefix)
        head, slash, _ = name.partition("/")
        if entry is None:
            self._kept.pop(name, None)
            self._under.get(head, {}).pop(name, None)
            return
        if slash:
            self._under.setdefault(head, {})[name] = None
        try:
            self._kept[name] = Kept(entry, self._decode.decode(entry.value))
        except msgspec.MsgspecError as error:
            log.error("an entry of the store cannot be read", key=key, why=str(error))
            self._kept.pop(name, None)
            self._under.get(head, {}).pop(name, None)


class Mirror:
    """Tables by what they hold."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.hosts = Table("hosts/", HostRecord)
        self.reports = Table("reports/", HostReport)
        self.guests = Table("guests/", Shown)
        self.health = Table("health/", Report)
        self.sensors = Table("sensors/", Sensed)
        self.warnings = Table("warnings/", Warned)
        self.verifications = Table("verifications/", Verification)
        self.migrations = Table("migrations/", Migration)
        self.tasks = Table("tasks/", Task)
        self.tokens = Table("tokens/", Token)
        self.audit = Table("audit/", AuditLine)
        self.trust = Table("trust/", SignedBarred)
        self.followers = Table("followers/", Follower)
        self.leader = Table(HOLDER, Leader)
        self.identity = Table(OWN, Identity)
        self.wishes = Table("wishes/", GuestWishes)
        self.rules = Table("rules/", Rule)
        self.domains = Table("domains/", DomainRecord)
        self.balance_orders = Table("balance/orders", BalanceOrders)
        self.balance_turn = Table("balance/turn", Turn)
        self.balance_state = Table("balance/state", BalanceState)
        self.drain_audit = Table("drain-audit", Audited)
        self.bookings = Table("bookings/", BookedMove)
        self.maintenances = Table("maintenances/", Maintenance)
        self.maintenance_hosts = Table("maintenance-hosts/", HostWork)
        self.incidents = Table("incidents/", Incident)
        self.deaths = Table("deaths/", Death)
        self.successions = Table("successions/", Succession)
        self.charters = Table("charters/", Charter)
        self._tables: tuple[Table[Any], ...] = tuple(
            table for table in vars(self).values() if isinstance(table, Table)
        )
        self._by_head: dict[str, list[Table[Any]]] = defaultdict(list)
        """The first word of their keys -> tables."""
        for table in self._tables:
            self._by_head[table.prefix.partition("/")[0]].append(table)
        self.last_identity: Identity | None = None
        """The fleet's, also after its store was emptied under this controller."""
        self.revision = 0
        self._lost_s: float | None = None
        self._changed = asyncio.Condition()

    def frozen(self) -> Mirror:
        """As it is now, for a thread that looks at it for longer; nobody follows the store with it."""
        made = copy.copy(self)
        for name, table in vars(self).items():
            if isinstance(table, Table):
                setattr(made, name, table.frozen())
        return made

    async def change(self, within_s: float) -> None:
        """Returns after the next batch, or when that much time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s), self._changed:
                await self._changed.wait()

    def behind_s(self) -> float:
        """How old what is known may be: 0 while the store is seen."""
        return 0.0 if self._lost_s is None else max(1.0, clock.steady_s() - self._lost_s)

    async def follow(self) -> None:
        """For as long as the controller lives."""
        while True:
            try:
                await self._read_all()
                self._lost_s = None
                async with contextlib.aclosing(self._store.watch("", self.revision)) as batches:
                    async for batch in batches:
                        await self._take(batch.events, batch.revision)
            except SegueError as error:  # away, or compacted: what is known stays shown meanwhile
                log.warning("the store is read anew", why=str(error))
                if not isinstance(error, Compacted):
                    self._lost_s = self._lost_s or clock.steady_s()
                await asyncio.sleep(AGAIN_S)

    async def reached(self, revision: int) -> None:
        """Returns when a write of that revision is seen here, so that whoever wrote reads what he wrote."""
        try:
            async with asyncio.timeout(REACH_S), self._changed:
                await self._changed.wait_for(lambda: self.revision >= revision)
        except TimeoutError:
            raise Refused(
                what="it is not shown what was written",
                why=f"the store's watch has not come to revision {revision} within {REACH_S:g} s",
                todo="Read it again in a while: the write itself was done.",
                kind=Kind.TIMEOUT,
            ) from None

    async def _read_all(self) -> None:
        found: list[Entry] = []
        revision = 0
        async for page in self._store.list(""):
            found += page.entries
            revision = page.revision
        for table in self._tables:
            table.clear()
        self.revision = 0  # An empty store in the place of one that was lost begins anew.
        events = tuple(Event(entry.key, entry.revision, entry) for entry in found)
        await self._take(events, revision)

    async def _take(self, events: tuple[Event, ...], revision: int) -> None:
        for event in events:
            for table in self._by_head.get(event.key.partition("/")[0], ()):
                if event.key.startswith(table.prefix):
                    table.put(event.key, event.entry)
        if (identity := self.identity.get("")) is not None:
            self.last_identity = identity.value
        async with self._changed:
            self.revision = max(self.revision, revision)
            self._changed.notify_all()
