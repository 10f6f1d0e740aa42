"""How far the journal has come, beside it in memory: an older one that was put in its place is known by that.

A journal that forgot what its host gave away would have a guest started that lives elsewhere. It must never be behind
what the file beside it says, but for that reason; the file goes with the power, as do all guests.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Final

SCHEMA: Final = """
insert or ignore into meta values ('writes', '0');
create trigger if not exists count_writes after insert on token begin
    update meta set value = cast(value as integer) + 1 where key = 'writes';
end;
"""


class Progress:
    """Writes of tokens since the journal was made."""

    def __init__(self, database: sqlite3.Connection, boot: str) -> None:
        self._db = database
        self._boot = boot
        self._beside: Path | None = None
        self._db.executescript(SCHEMA)
        self._writes = self._stored()

    def keep_in(self, path: Path) -> bool:
        """From now on in this file, too. True where it was further in this boot: the journal is an older one."""
        self._beside = path
        seen = self._seen(path)
        if seen <= self._writes:
            path.unlink(missing_ok=True)  # Of an earlier boot, and longer perhaps.
            self._write()
        return seen > self._writes

    def grew(self) -> None:
        """After the write, never before: it may have been cut off."""
        self._writes += 1
        self._write()

    def accept(self) -> None:
        """The older journal counts from here on, because all others were asked."""
        if self._beside is not None:
            self._writes = max(self._writes, self._seen(self._beside)) + 1
            self._db.execute("update meta set value = ? where key = 'writes'", (str(self._writes),))
            self._write()

    def _stored(self) -> int:
        return int(self._db.execute("select value from meta where key = 'writes'").fetchone()[0])

    def _seen(self, path: Path) -> int:
        try:
            boot, writes = path.read_text(encoding="ascii").split()
            return int(writes) if boot == self._boot else 0
        except (FileNotFoundError, ValueError):
            return 0

    def _write(self) -> None:
        """In one piece, and in place: a reader never finds it empty. Where it cannot be written the guest goes on."""
        if self._beside is None:
            return
        with contextlib.suppress(OSError):
            file = os.open(self._beside, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.pwrite(file, f"{self._boot} {self._writes:020d}".encode(), 0)
            finally:
                os.close(file)
