"""Decisions written to the store by compare-and-set: hosts, tasks, tokens, and the lines of the audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec

from segue.adapters import chance, clock
from segue.adapters.http.access import Caller
from segue.controller.mirror import Kept, Mirror, Table
from segue.engine import certainty
from segue.engine.store import Store
from segue.errors import Kind, Refused
from segue.model import store as nouns
from segue.model.roster import AuditLine
from segue.model.store import Change, Conflict, Fence, OutcomeUnknown

T = TypeVar("T")
TRIES: Final = 20


OF_HOSTS: Final = {"reports/": "host", "health/": "host", "verifications/": "host", "deaths/": "host"}
"""What is kept for each host goes by its name."""
LISTED: Final = frozenset({"host", "task", "token", "rule", "domain", "maintenance", "incident"})
"""`segue NOUN list` is a command."""


class Books:
    """Every write waits until this controller itself sees it."""

    def __init__(self, store: Store, mirror: Mirror) -> None:
        self._store = store
        self.mirror = mirror

    async def add(
        self, table: Table[Any], name: str, value: object, *also: Change, fence: Fence | None = None
    ) -> None:
        """Raises Conflict where it is there already. also: done with it, or neither is."""
        await self._commit(nouns.create(table.key(name), msgspec.json.encode(value)), *also, fence=fence)

    async def add_once(self, table: Table[Any], name: str, value: object, *, fence: Fence) -> bool:
        """False where it is there already: a leader before us added it, and our mirror had not seen that yet."""
        try:
            await self.add(table, name, value, fence=fence)
        except Conflict:
            return False
        return True

    async def change(
        self,
        table: Table[T],
        name: str,
        decide: Callable[[T], T],
        *,
        revision: int = 0,
        fence: Fence | None = None,
    ) -> T:
        """Replaces the value by what is decided from it, again where somebody else was faster.

        revision: the one that the caller has seen; then nobody may have been faster. Raises Refused.
        """
        for _ in range(TRIES):
            kept = self.known(table, name)
            if revision and kept.entry.revision != revision:
                raise Conflict(kept.entry.key, kept.entry)
            made = decide(kept.value)
            if made == kept.value:
                return made
            try:
                await self._commit(nouns.replace(kept.entry, msgspec.json.encode(made)), fence=fence)
                return made
            except Conflict as error:
                if revision:
                    raise
                await self.mirror.reached(error.current.revision if error.current else 0)
        raise Refused(
            what=f"{table.key(name)} was not changed",
            why=f"others were faster {TRIES} times",
            todo="Try again.",
            kind=Kind.CONFLICT,
        )

    async def remove(self, table: Table[Any], name: str, *, fence: Fence | None = None) -> None:
        """Raises Refused where it is not there."""
        await self._commit(nouns.delete(self.known(table, name).entry), fence=fence)

    def known(self, table: Table[T], name: str) -> Kept[T]:
        """Raises Refused where it is not there."""
        kept = table.get(name)
        if kept is None:
            raise self.none(table, name)
        return kept

    def none(self, table: Table[Any], name: str) -> Refused:
        """The same words for one that is not there and one that the caller may not see."""
        noun = OF_HOSTS.get(table.prefix, table.prefix.rstrip("/").removesuffix("s"))
        return Refused(
            what=f"there is no {noun} {name[:80]}",
            why="the fleet's store has none of that name",
            todo=f"`segue {noun} list` shows all." if noun in LISTED else "List them, and choose one.",
            kind=Kind.NOT_FOUND,
        )

    async def note(self, caller: Caller, from_: str, what: str, outcome: str, request: str) -> None:
        """One more line of the audit. Raises where it cannot be kept: then nothing may be done either."""
        now_s = clock.wall_s()
        line = AuditLine(now_s, caller.name, caller.role, from_, what[:200], outcome[:1000], request)
        await self.add(self.mirror.audit, f"{int(now_s * 1e6):017d}-{chance.token(6)}", line)

    async def _commit(self, *changes: Change, fence: Fence | None = None) -> None:
        try:
            revision = await self._store.commit(*changes, fence=fence)
        except OutcomeUnknown as unknown:
            revision = await certainty.make_sure(self._store, unknown)
        await self.mirror.reached(revision)
