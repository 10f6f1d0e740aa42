"""The journal's notes about commands and reboots of this host: what was begun is never begun again."""

from __future__ import annotations

import sqlite3

import msgspec

from segue.model.job import Job, Reboot

SCHEMA = """
create table if not exists job (id text primary key, begun real not null, value blob not null) strict;
create table if not exists reboot (id text primary key, asked real not null, value blob not null) strict;
"""
KEPT = 200
"""Of each; the oldest are forgotten."""


class JobNotes:
    """Every write is durable when it returns."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.executescript(SCHEMA)

    def put(self, job: Job) -> None:
        """Written before it is begun, and again when it has ended."""
        row = (job.id, job.begun_s, msgspec.json.encode(job))
        self._db.execute("insert or replace into job values (?, ?, ?)", row)

    def get(self, number: str) -> Job | None:
        """None where it was never begun here."""
        row = self._db.execute("select value from job where id = ?", (number,)).fetchone()
        return msgspec.json.decode(row[0], type=Job) if row else None

    def all(self) -> list[Job]:
        """The newest first."""
        rows = self._db.execute("select value from job order by begun desc, id").fetchall()
        return [msgspec.json.decode(value, type=Job) for (value,) in rows]

    def prune(self) -> list[str]:
        """Forgets the oldest; which."""
        old = [job.id for job in self.all()[KEPT:] if job.ended]
        self._db.executemany("delete from job where id = ?", [(number,) for number in old])
        self._db.execute(
            "delete from reboot where id in (select id from reboot order by asked desc limit -1 offset ?)",
            (KEPT,),
        )
        return old

    def put_reboot(self, reboot: Reboot) -> None:
        """Written before the host is told to reboot, and again where it did not."""
        row = (reboot.id, reboot.asked_s, msgspec.json.encode(reboot))
        self._db.execute("insert or replace into reboot values (?, ?, ?)", row)

    def reboot(self, number: str) -> Reboot | None:
        """None where it was never asked for."""
        row = self._db.execute("select value from reboot where id = ?", (number,)).fetchone()
        return msgspec.json.decode(row[0], type=Reboot) if row else None
