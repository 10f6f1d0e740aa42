"""The SQLite file of a store: opening it, and what its errors mean. It knows nothing of keys and commits."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused
from segue.model.store import Away

APPLICATION: Final = 0x5E60E51  # in the file's head: another program's database is not touched
VERSION: Final = 1
BUSY_S: Final = 5.0
"""How long another process of this host may hold the file."""
SCHEMA: Final = """
create table if not exists meta (key text primary key, value integer not null) strict;
create table if not exists entry (key text primary key, value blob not null, revision integer not null,
                                  lease integer not null, tag text not null) strict;
create index if not exists entry_lease on entry (lease) where lease != 0;
create table if not exists event (revision integer not null, key text not null, value blob, lease integer not null,
                                  tag text not null, primary key (revision, key)) strict, without rowid;
create table if not exists lease (id integer primary key, ttl_s real not null, ends_s real not null,
                                  boot text not null) strict;
insert or ignore into meta values ('revision', 0), ('compacted', 0);
"""
TOO_SMALL: Final = frozenset({sqlite3.SQLITE_FULL})
BUSY: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
TODO: Final = {
    sqlite3.SQLITE_FULL: "Free space on its disk; what is in it is whole.",
    sqlite3.SQLITE_BUSY: f"Another process held it for {BUSY_S:g} s: try again.",
    sqlite3.SQLITE_CORRUPT: "Put it aside and restore a backup: `segue store restore --help`.",
    sqlite3.SQLITE_NOTADB: "Put it aside and restore a backup: `segue store restore --help`.",
    sqlite3.SQLITE_READONLY: "Let this user write to it, and look whether its file system became read-only.",
}
NOT_OURS: Final = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
CERTAIN: Final = TOO_SMALL | BUSY | {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}
"""A commit that ends so did not reach the disk in whole and is never found there later. An error of input or
output is none of these: the last block may have been written although the sync failed."""


def connect(path: Path) -> sqlite3.Connection:
    """A connection to the store, which is made if the file is not there. Raises Away, Refused."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as error:
        raise away(path, error) from error
    try:
        _demand_ours(path, db)
        db.execute("pragma synchronous=full")
        if _number(db, "user_version") != VERSION or not _is_wal(db):
            _make(path, db)
    except sqlite3.Error as error:
        db.close()
        raise away(path, error) from error
    except BaseException:
        db.close()
        raise
    return db


def _make(path: Path, db: sqlite3.Connection) -> None:
    """One process at a time: SQLite does not wait for another one where the journal's mode is changed."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        db.execute("pragma journal_mode=wal")
        marks = f"pragma application_id={APPLICATION}; pragma user_version={VERSION};"
        db.executescript(f"begin immediate; {SCHEMA} {marks} commit;")
    finally:
        os.close(folder)


def _demand_ours(path: Path, db: sqlite3.Connection) -> None:
    db.execute("begin")  # One look: another process may be making it.
    application, version = _number(db, "application_id"), _number(db, "user_version")
    tables = db.execute("select count(*) from sqlite_schema").fetchone()[0]
    db.execute("rollback")
    if tables and application != APPLICATION:
        why, todo = "it is another program's database", "Choose another file; this one was not touched."
    elif version > VERSION:
        why, todo = f"a newer segue made it (format {version})", "Use that version of segue, or a newer one."
    else:
        return
    raise Refused(what=f"cannot use {path} as a store", why=why, todo=todo, kind=Kind.USAGE)


def _is_wal(db: sqlite3.Connection) -> bool:
    """A copy that was made of a store with SQLite's own tools may be none."""
    return bool(db.execute("pragma journal_mode").fetchone()[0] == "wal")


def _number(db: sqlite3.Connection, pragma: str) -> int:
    return int(db.execute(f"pragma {pragma}").fetchone()[0])


def code(error: BaseException) -> int:
    """SQLite's error without the extension; 0 for an error of another kind."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def away(path: Path, error: BaseException) -> Away:
    """Why the file cannot be used just now, and what to do."""
    number = code(error)
    locked = number == sqlite3.SQLITE_READONLY or getattr(error, "errno", 0) in NOT_OURS
    kind = Kind.TIMEOUT if number in BUSY else Kind.UNREACHABLE
    todo = (
        TODO[sqlite3.SQLITE_READONLY]
        if locked
        else TODO.get(number, "Look at the disk and at the kernel's log.")
    )
    return Away(what=f"the store {path} cannot be used", why=str(error), todo=todo, kind=kind)
