"""What one connection to a controller has told already, so that only what is different is told. It sends nothing."""

from __future__ import annotations

from typing import Final, Protocol

from segue.adapters import clock
from segue.model.host import HostFacts
from segue.model.load import HostLoad
from segue.model.migration import Migration
from segue.wire import link
from segue.wire.frames import Shown

FACTS_S: Final = 10.0
LOAD_S: Final = 10.0
PROGRESS_S: Final = 1.0
ENDED_MOST: Final = 50
"""Ended migrations that are told at the beginning of a connection."""


class Here(Protocol):
    """What is looked at."""

    def facts(self) -> HostFacts:
        """What the host can do, now."""
        ...

    def guests(self) -> list[Shown]:
        """All that have something here."""
        ...

    def migrations(self) -> list[Migration]:
        """Those that began here, newest first."""
        ...

    def load(self) -> HostLoad | None:
        """What the host and its guests use; None while it is not known."""
        ...


class Told:
    """Of one connection."""

    def __init__(self) -> None:
        self._facts_s = 0.0
        self._load_s = 0.0
        self._guests: dict[str, Shown] = {}
        self._migrations: dict[str, tuple[Migration, float]] = {}

    def changes(self, here: Here, *, load: bool = False) -> link.Changes:
        """From now on this is told. load: the time may have come for that, too."""
        guests = {shown.spec.uuid: shown for shown in here.guests()}
        changed = [shown for uuid, shown in guests.items() if self._guests.get(uuid) != shown]
        gone = [uuid for uuid in self._guests if uuid not in guests]
        self._guests = guests
        facts = self._facts(here, bool(changed or gone))
        return link.Changes(facts, changed, gone, self._moved(here), self._load(here) if load else None)

    def _load(self, here: Here) -> HostLoad | None:
        """At once on a new connection: a leader that took over knows no load."""
        now_s = clock.steady_s()
        if self._load_s and now_s - self._load_s < LOAD_S:
            return None
        found = here.load()
        self._load_s = now_s if found else 0.0
        return found

    def _facts(self, here: Here, again: bool) -> HostFacts | None:
        now_s = clock.steady_s()
        if not again and self._facts_s and now_s - self._facts_s < FACTS_S:
            return None
        self._facts_s = now_s
        return here.facts()

    def _moved(self, here: Here) -> list[Migration]:
        """Progress once a second, a new stage or step at once."""
        now_s, told = clock.steady_s(), []
        ended = 0
        for migration in here.migrations():
            ended += migration.ended
            if migration.ended and ended > ENDED_MOST:
                continue
            known, at_s = self._migrations.get(migration.id, (None, 0.0))
            if known is migration or known == migration:
                continue
            is_new = known is None or (known.stage, known.step) != (migration.stage, migration.step)
            if is_new or now_s - at_s >= PROGRESS_S:
                self._migrations[migration.id] = migration, now_s
                told.append(migration)
        return told
