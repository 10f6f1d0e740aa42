"""The agent's notes about disks: those that are coming in, and those that stay for a while after a guest left."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from segue.model.storage import Origin

SCHEMA = """
create table if not exists incoming_disk (guest text not null, migration text not null, path text primary key) strict;
create table if not exists pulled_disk (guest text not null, disk text not null, address text not null,
                                        host text not null, migration text not null, primary key (guest, disk)) strict;
create table if not exists kept_disk (path text primary key, was text not null, guest text not null,
                                      until real not null) strict;
"""


@dataclass(frozen=True)
class KeptDisk:
    """A disk of a guest that lives on another host now. `until_s`: wall clock; then it is deleted."""

    path: str
    was: str
    guest: str
    until_s: float


class DiskNotes:
    """Every write is durable when it returns."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.executescript(SCHEMA)

    # Files made here for a guest that has not run here yet: nobody needs them if it never does.

    def coming(self, guest: str, migration: str, path: str) -> None:
        """Written before the file is made. guest: its uuid."""
        self._db.execute("insert or replace into incoming_disk values (?, ?, ?)", (guest, migration, path))

    def came(self, guest: str) -> None:
        """The guest runs here: these are its disks now."""
        self._db.execute("delete from incoming_disk where guest = ?", (guest,))

    def arrivals(self, guest: str) -> list[tuple[str, str]]:
        """(path, migration) of each file that was made for it and that it has not run with yet."""
        rows = self._db.execute("select path, migration from incoming_disk where guest = ?", (guest,))
        return [(path, migration) for path, migration in rows]

    def unmade(self, path: str) -> None:
        """The file is gone again."""
        self._db.execute("delete from incoming_disk where path = ?", (path,))

    # Disks that a guest runs with and that are not all here

    def pull(self, guest: str, origin: Origin) -> None:
        """Written before the guest can run with it."""
        row = (guest, origin.disk, origin.address, origin.host, origin.migration)
        self._db.execute("insert or replace into pulled_disk values (?, ?, ?, ?, ?)", row)

    def origins(self, guest: str) -> tuple[Origin, ...]:
        """Where the disks of the guest (a uuid) come from."""
        query = "select disk, address, host, migration from pulled_disk where guest = ? order by disk"
        return tuple(Origin(*row) for row in self._db.execute(query, (guest,)))

    def pulled(self, guest: str, disk: str) -> None:
        """All of it is here."""
        self._db.execute("delete from pulled_disk where guest = ? and disk = ?", (guest, disk))

    # Files that a guest left behind

    def keep(self, disk: KeptDisk) -> None:
        """Written before the file gets its new name."""
        row = (disk.path, disk.was, disk.guest, disk.until_s)
        self._db.execute("insert or replace into kept_disk values (?, ?, ?, ?)", row)

    def kept(self) -> list[KeptDisk]:
        """The soonest to go first."""
        rows = self._db.execute("select path, was, guest, until from kept_disk order by until, path")
        return [KeptDisk(*row) for row in rows]

    def gone(self, path: str) -> None:
        """The file is deleted."""
        self._db.execute("delete from kept_disk where path = ?", (path,))
