"""The journal's notes about guests that come in, so that a restarted agent goes on with their traces."""

from __future__ import annotations

import sqlite3

import msgspec

from segue.model.trace import Arriving

SCHEMA = "create table if not exists arriving (migration text primary key, value blob not null) strict;"


class TraceNotes:
    """What is lost of them is a part of a picture, never a guest."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.executescript(SCHEMA)

    def put(self, arriving: Arriving) -> None:
        """Keeps it, or what has become of it, without waiting for the disk."""
        self._db.execute("pragma synchronous=off")
        try:
            value = msgspec.json.encode(arriving)
            self._db.execute("insert or replace into arriving values (?, ?)", (arriving.migration, value))
        finally:
            self._db.execute("pragma synchronous=full")

    def drop(self, migration: str) -> None:
        """Its spans are told."""
        self._db.execute("delete from arriving where migration = ?", (migration,))

    def all(self) -> list[Arriving]:
        """Those that were not told yet when the agent ended."""
        rows = self._db.execute("select value from arriving").fetchall()
        return [msgspec.json.decode(value, type=Arriving) for (value,) in rows]
