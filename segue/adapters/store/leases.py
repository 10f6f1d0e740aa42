"""What a host keeps of leases: its charter, to whom it grants nothing, and until when its own lease was told."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from segue.model.lease import HeldCharter

SCHEMA: Final = "create table if not exists denial (host text primary key, incident text not null) strict"
CHARTER: Final = "lease_charter"


class LeaseNotes:
    """Durable like the rest of the journal, but for the end of the lease: that one is worth nothing after a boot."""

    def __init__(self, database: sqlite3.Connection, boot: str) -> None:
        self._db = database
        self._boot = boot
        self._volatile: Path | None = None
        self._db.execute(SCHEMA)

    def keep_ends_in(self, path: Path) -> None:
        """A file that costs no write to a disk."""
        self._volatile = path

    def charter(self) -> HeldCharter | None:
        """By which guests run here; None where they run without."""
        row = self._db.execute("select value from meta where key = ?", (CHARTER,)).fetchone()
        return msgspec.json.decode(row[0], type=HeldCharter) if row else None

    def put_charter(self, charter: HeldCharter) -> None:
        """From now on none runs without a lease."""
        text = msgspec.json.encode(charter).decode()
        self._db.execute("insert or replace into meta values (?, ?)", (CHARTER, text))

    def drop_charter(self) -> None:
        """They run without again."""
        self._db.execute("delete from meta where key = ?", (CHARTER,))

    def denials(self) -> dict[str, str]:
        """Host -> incident."""
        return dict(self._db.execute("select host, incident from denial order by host").fetchall())

    def deny(self, host: str, incident: str) -> None:
        """It is granted nothing from here on."""
        self._db.execute("insert or replace into denial values (?, ?)", (host, incident))

    def allow(self, host: str, incident: str) -> None:
        """The same as before, if it was denied for that."""
        self._db.execute("delete from denial where host = ? and incident = ?", (host, incident))

    def ends_s(self) -> float:
        """When the lease ends that was told last, by CLOCK_BOOTTIME; 0 where that is not known."""
        try:
            boot, ends_s = self._volatile.read_text(encoding="ascii").split() if self._volatile else ("", "0")
            return float(ends_s) if boot == self._boot else 0.0
        except (FileNotFoundError, ValueError):
            return 0.0

    def keep_end(self, ends_s: float) -> None:
        """For the next agent, if the guard should be gone by then."""
        if self._volatile is not None:
            self._volatile.write_text(f"{self._boot} {ends_s:.3f}", encoding="ascii")
