"""The agent's record of incidents: every change of one gets the next number, so that others ask for what is new."""

from __future__ import annotations

import sqlite3
from typing import Final

import msgspec

from segue.model.incident import Incident, Told

SCHEMA: Final = """
create table if not exists incident (n integer primary key autoincrement, id text unique not null,
                                     at real not null, open integer not null, value blob not null) strict;
"""
KEEP: Final = 1000
"""Ended ones beyond this number are forgotten, oldest first."""


class IncidentNotes:
    """Every write is durable when it returns."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.executescript(SCHEMA)

    def put(self, incident: Incident) -> None:
        """Keeps it as it is now; old ended ones make room."""
        row = (incident.id, incident.at_s, int(incident.is_open), msgspec.json.encode(incident))
        self._db.execute("insert or replace into incident (id, at, open, value) values (?, ?, ?, ?)", row)
        if not incident.is_open:
            old = "select n from incident where open = 0 order by at desc limit -1 offset ?"
            self._db.execute(f"delete from incident where n in ({old})", (KEEP,))

    def open(self) -> list[Incident]:
        """Those that are not over."""
        rows = self._db.execute("select value from incident where open = 1 order by at")
        return [msgspec.json.decode(value, type=Incident) for (value,) in rows]

    def after(self, number: int, most: int) -> list[Told]:
        """Those that changed after that number, in the order in which they did."""
        rows = self._db.execute(
            "select n, value from incident where n > ? order by n limit ?", (number, most)
        )
        return [Told(n, msgspec.json.decode(value, type=Incident)) for n, value in rows]

    def all(self) -> list[Incident]:
        """Newest first."""
        rows = self._db.execute("select value from incident order by at desc")
        return [msgspec.json.decode(value, type=Incident) for (value,) in rows]
