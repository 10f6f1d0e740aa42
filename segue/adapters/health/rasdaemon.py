"""Memory and processor errors that rasdaemon has written into its SQLite database. It is only ever read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Final

from segue.adapters.health.source import Look, Roots, Totals, Unseen
from segue.model.health import Kind, Part, Sample

CORRECTED: Final = "Corrected"
GRAVE: Final = ("Uncorrected", "Fatal")
BUSY_S: Final = 0.2
UNCORRECTED_BIT: Final = 61
"""UC in MCi_STATUS: Intel SDM volume 3, 16.3.2.2."""
NEW: Final = "id > ? and id <= ?"
MEMORY: Final = f"""select label, err_type, sum(coalesce(err_count, 1)) from mc_event where {NEW}
 group by label, err_type"""
CHECKS: Final = f"""select coalesce(cpu, -1), count(*) from mce_record where {NEW}
 and (coalesce(status, 0) >> {UNCORRECTED_BIT}) & 1 = 0 group by cpu"""


class Rasdaemon:
    """Port `Probe`. Remembers how far it has read.

    The first look sums up all that is on record, be it of years: half of it now and half at the next look would seem
    to have happened in between.
    """

    name = "rasdaemon"
    every_s = 120.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._path = roots.rasdaemon
        self._totals = Totals()
        self._read: dict[str, int] = {}

    def look(self) -> Sample:
        """All events on record."""
        look = Look(self.name)
        if not self._path.is_file():
            look.miss(Unseen(self._path, "it is not there: rasdaemon does not run, or keeps no record"))
            return look.sample()
        try:
            with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=BUSY_S)) as database:
                tables = {
                    name for (name,) in database.execute("select name from sqlite_master where type='table'")
                }
                if "mc_event" in tables:
                    self._memory(database)
                if "mce_record" in tables:
                    self._checks(database)
                if not tables & {"mc_event", "mce_record"}:
                    look.miss(Unseen(self._path, "it has none of rasdaemon's tables"))
        except (sqlite3.Error, TypeError, ValueError) as error:
            look.miss(Unseen(self._path, str(error)))
        self._totals.tell(look, self._path)
        return look.sample()

    def _new(self, database: sqlite3.Connection, table: str, query: str) -> list[tuple[object, ...]]:
        """What was recorded since the last look. A database that was begun anew is read from its start."""
        last = int(database.execute(f"select coalesce(max(id), 0) from {table}").fetchone()[0])
        read = self._read.get(table, 0)
        rows = database.execute(query, (read if read <= last else 0, last)).fetchall()
        self._read[table] = last
        return rows

    def _memory(self, database: sqlite3.Connection) -> None:
        for label, kind, count in self._new(database, "mc_event", MEMORY):
            part = Part(Kind.MEMORY, str(label or "unknown").strip())
            if str(kind) == CORRECTED:
                self._totals.add(part, "recorded_corrected", float(str(count)))
            elif str(kind) in GRAVE:
                self._totals.add(part, "recorded_uncorrected", float(str(count)))

    def _checks(self, database: sqlite3.Connection) -> None:
        for cpu, count in self._new(database, "mce_record", CHECKS):
            self._totals.add(Part(Kind.CPU, f"cpu{cpu}"), "recorded_checks", float(str(count)))
