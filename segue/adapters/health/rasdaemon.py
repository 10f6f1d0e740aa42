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
ROWS_MOST: Final = 20_000
"""Of one look; what is left is read at the next one."""
MEMORY: Final = (
    "select id, label, err_type, coalesce(err_count, 1) from mc_event where id > ? order by id limit ?"
)
CHECKS: Final = (
    "select id, coalesce(cpu, -1), coalesce(status, 0) from mce_record where id > ? order by id limit ?"
)
UNCORRECTED_BIT: Final = 61
"""UC in MCi_STATUS: Intel SDM volume 3, 16.3.2.2."""


class Rasdaemon:
    """Port `Probe`. Remembers how far it has read."""

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

    def _rows(self, database: sqlite3.Connection, table: str, query: str) -> list[tuple[int, object, object]]:
        """New rows. A database that was begun anew is read from its start."""
        last = database.execute(f"select coalesce(max(id), 0) from {table}").fetchone()[0]
        if int(last) < self._read.get(table, 0):
            self._read[table] = 0
        rows = database.execute(query, (self._read.get(table, 0), ROWS_MOST)).fetchall()
        if rows:
            self._read[table] = int(rows[-1][0])
        return rows

    def _memory(self, database: sqlite3.Connection) -> None:
        for row in self._rows(database, "mc_event", MEMORY):
            _, label, kind, count = row  # type: ignore[misc]
            part = Part(Kind.MEMORY, str(label or "unknown").strip())
            if str(kind) == CORRECTED:
                self._totals.add(part, "recorded_corrected", float(count))
            elif str(kind) in GRAVE:
                self._totals.add(part, "recorded_uncorrected", float(count))

    def _checks(self, database: sqlite3.Connection) -> None:
        for _, cpu, status in self._rows(database, "mce_record", CHECKS):
            if not (int(str(status)) >> UNCORRECTED_BIT) & 1:
                self._totals.add(Part(Kind.CPU, f"cpu{cpu}"), "recorded_checks")
