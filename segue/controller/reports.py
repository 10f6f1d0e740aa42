"""Writes what agents report into the store, fenced by the tenure of the leader; nobody else writes it there."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import msgspec

from segue.adapters import clock
from segue.adapters.http.access import Caller
from segue.controller.mirror import Mirror, Table
from segue.engine.store import Store
from segue.errors import Kind, Refused
from segue.model import store as nouns
from segue.model.balance import DAY_S
from segue.model.leadership import Tenure
from segue.model.lifecycle import Stage
from segue.model.migration import Migration
from segue.model.roster import Decided, HostRecord, HostReport
from segue.model.store import CHANGES, Change
from segue.wire import link
from segue.wire.frames import Shown

KEEP_MIGRATIONS: Final = 50
"""Ended ones that are kept for each host; the agent's journal has more."""
DAY_MOST: Final = 1000
"""Beside them those that moved a guest in the last day: they count against its budget (policy/temper.py)."""
GUESTS_MOST: Final = 5000
MIGRATIONS_MOST: Final = 1000
"""Of one host in one frame."""
HALF: Final = CHANGES // 2


class Reports:
    """One tenure's writer. The reports of one host come one after another, those of several side by side."""

    def __init__(
        self,
        store: Store,
        mirror: Mirror,
        tenure: Tenure,
        new: dict[str, str],
        ended: Callable[[Migration], None],
    ) -> None:
        """new: takes up the hosts that nobody knew, name -> URL; ended: called for each migration that ended."""
        self._store = store
        self._mirror = mirror
        self._fence = tenure.fence
        self._new = new
        self._ended = ended
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def hello(self, caller: Caller, hello: link.Hello) -> None:
        """Everything the host says of itself replaces everything that was known of it."""
        host = caller.name
        self._demand_own(host, {hello.facts.name}, hello.guests, hello.migrations)
        is_new = self._mirror.reports.get(host) is None
        report = HostReport(host, hello.url, hello.facts, hello.labels, linked=True, changed_s=clock.wall_s())
        told = {f"{host}/{shown.spec.uuid}": shown for shown in hello.guests}
        async with self._turns[host]:
            changes = [
                *self._record(caller, hello.decided or Decided()),
                *_put(self._mirror.reports, host, report),
            ]
            for name, shown in told.items():
                changes += _put(self._mirror.guests, name, shown)
            gone = [name for name in self._mirror.guests.under(host) if name not in told]
            changes += self._gone(host, gone, hello.migrations)
            changes += self._migrations(host, hello.migrations)
            await self._write(changes)
        if is_new:
            self._new[host] = hello.url

    async def changes(self, host: str, told: link.Changes) -> None:
        """What is different since its last frame."""
        names = {named.name for named in (told.facts, told.load) if named}
        self._demand_own(host, names, told.guests, told.migrations)
        async with self._turns[host]:
            changes: list[Change] = []
            report = self._mirror.reports.get(host)
            if told.facts and report:
                changes += _put(self._mirror.reports, host, replace(report.value, facts=told.facts))
            for shown in told.guests:
                changes += _put(self._mirror.guests, f"{host}/{shown.spec.uuid}", shown)
            changes += self._gone(host, [f"{host}/{uuid}" for uuid in told.gone], told.migrations)
            changes += self._migrations(host, told.migrations)
            await self._write(changes)

    async def gone(self, host: str) -> None:
        """Its connection ended; what it said last stays known."""
        async with self._turns[host]:
            if report := self._mirror.reports.get(host):
                away = replace(report.value, linked=False, changed_s=clock.wall_s())
                await self._write(_put(self._mirror.reports, host, away))

    async def all_away(self) -> None:
        """At the beginning of a tenure nobody is connected yet."""
        for name, kept in list(self._mirror.reports.items().items()):
            if kept.value.linked:
                await self.gone(name)

    def _record(self, caller: Caller, told: Decided) -> list[Change]:
        """Which certificate it shows. One that nobody knows has one of our CA: the store was lost, or is older."""
        if (kept := self._mirror.hosts.get(caller.name)) is not None:
            return _put(self._mirror.hosts, caller.name, kept.value.shown(caller.serial))
        record = HostRecord(
            caller.name, clock.wall_s(), caller.serial, cordoned=told.cordoned, labels=told.labels
        )
        return _put(self._mirror.hosts, caller.name, record)

    def _gone(self, host: str, names: list[str], told: list[Migration]) -> list[Change]:
        """Guests of which it has nothing any more. One that it gave to a host that is away is that one's, as far as
        anybody can know: if that host died before it could tell, nobody else would miss the guest."""
        changes: list[Change] = []
        for name in names:
            changes += _drop(self._mirror.guests, name)
            if (kept := self._mirror.guests.get(name)) and (
                target := self._taker(host, kept.value.name, told)
            ):
                given = replace(
                    kept.value, host=target, state="running", phase="owner", epoch=kept.value.epoch + 1
                )
                changes += _put(self._mirror.guests, f"{target}/{given.spec.uuid}", given)
        return changes

    def _taker(self, host: str, guest: str, told: list[Migration]) -> str:
        """The host that it last gave this guest to, if that one is not connected now."""
        of_it = (
            m for m in (*told, *self._mirror.migrations.values()) if (m.source, m.guest) == (host, guest)
        )
        last = max(of_it, key=lambda migration: migration.started_s, default=None)
        if last is None or last.stage not in {Stage.POST_BLACKOUT, Stage.DONE}:
            return ""
        report = self._mirror.reports.get(last.target)
        return last.target if report and not report.value.linked else ""

    def _migrations(self, host: str, told: list[Migration]) -> list[Change]:
        changes: list[Change] = []
        if not told:
            return changes
        table = self._mirror.migrations
        for migration in told:
            kept = table.get(migration.id)
            if migration.ended and kept is not None and not kept.value.ended:
                self._ended(migration)
            changes += _put(table, migration.id, replace(migration, observations=()))
        ended = [m for m in table.values() if m.source == host and m.ended]
        ended.sort(key=lambda migration: -migration.started_s)
        new = {migration.id for migration in told}
        since_s = clock.wall_s() - DAY_S
        for number, migration in enumerate(ended[KEEP_MIGRATIONS:]):
            counts = number < DAY_MOST and migration.stage is Stage.DONE and migration.ended_s > since_s
            if migration.id not in new and not counts:
                changes += _drop(table, migration.id)
        return changes

    def _demand_own(
        self, host: str, names: set[str], guests: list[Shown], migrations: list[Migration]
    ) -> None:
        """A certificate speaks for its own host alone. Raises Refused."""
        if len(guests) > GUESTS_MOST or len(migrations) > MIGRATIONS_MOST:
            raise Refused(
                what=f"a report of {host} is not taken",
                why=f"it tells of {len(guests)} guests and {len(migrations)} migrations at once",
                todo=f"Look at {host}: no host has so many.",
                kind=Kind.AUTH,
            )
        others = {*names, *(shown.host for shown in guests), *(m.source for m in migrations)} - {host}
        keys = [*(shown.spec.uuid for shown in guests), *(m.id for m in migrations)]
        odd = [key for key in keys if "/" in key or not nouns.lawful_key(key)]
        if others or odd:
            raise Refused(
                what=f"a report of {host} is not taken",
                why=f"it speaks for {', '.join(sorted(others))}"
                if others
                else f"{odd[0][:40]!r} cannot be an id",
                todo=f"Look at {host}: its agent is not one of ours, or somebody uses its certificate.",
                kind=Kind.AUTH,
            )

    async def _write(self, changes: list[Change]) -> None:
        """In pieces that the store takes; the mirror has them when this returns."""
        for begin in range(0, len(changes), HALF):
            revision = await self._store.commit(*changes[begin : begin + HALF], fence=self._fence)
            await self._mirror.reached(revision)


def _put(table: Table[Any], name: str, value: object) -> list[Change]:
    """Nothing where it is written so already."""
    encoded = msgspec.json.encode(value)
    kept = table.get(name)
    if kept is None:
        return [nouns.create(table.key(name), encoded)]
    return [] if kept.entry.value == encoded else [nouns.replace(kept.entry, encoded)]


def _drop(table: Table[Any], name: str) -> list[Change]:
    kept = table.get(name)
    return [nouns.delete(kept.entry)] if kept else []
