"""The agent's durable journal: what is written here survives a crash the moment the call returns."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from segue.adapters import chance, clock
from segue.adapters.store.disks import DiskNotes
from segue.adapters.store.incidents import IncidentNotes
from segue.adapters.store.jobs import JobNotes
from segue.adapters.store.leases import LeaseNotes
from segue.adapters.store.progress import Progress
from segue.adapters.store.traces import TraceNotes
from segue.errors import Refused
from segue.model.guest import Guest
from segue.model.handoff import Phase, Token
from segue.model.migration import Migration
from segue.model.notice import Board
from segue.model.roster import Decided
from segue.model.trace import Mark
from segue.model.trust import SignedBarred

T = TypeVar("T")

SCHEMA = """
create table if not exists meta (key text primary key, value text not null) strict;
create table if not exists guest (name text primary key, spec blob not null, wanted text not null,
                                  reason text not null, boot text not null) strict;
create table if not exists token (guest text primary key, value blob not null) strict;
create table if not exists migration (id text primary key, started real not null, ended integer not null,
                                      value blob not null) strict;
create table if not exists mark (n integer primary key, migration text not null, mark text not null,
                                 step text not null, at real not null default 0) strict;
create table if not exists notice (guest text primary key, value blob not null) strict;
create table if not exists peer (name text primary key, instance text not null) strict;
create table if not exists neighbour (name text primary key, url text not null) strict;
"""
KEEP_MIGRATIONS = 1000
"""Finished migrations beyond this number are forgotten, oldest first."""


def belong(path: Path, fleet: str) -> None:
    """For whoever brings a host to another fleet, also beside its agent: empty: to the first that welcomes it.
    Without a journal there is nothing that it would remember. Raises Refused."""
    if not path.is_file():
        return
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.executescript(SCHEMA)
            db.execute("insert or replace into meta values ('fleet', ?)", (fleet,))
    except sqlite3.Error as error:
        raise Refused(
            what="the host still belongs to the fleet that it was in",
            why=f"its journal {path} cannot be written: {error}",
            todo="Free space or mend the file system, and join again with a new token.",
        ) from error


class Journal:
    """SQLite with a full sync after each write. Calls block for about a millisecond, on purpose:
    nothing may happen between a decision and its being durable."""

    def __init__(self, path: Path, boot: str) -> None:
        self._boot = boot
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.executescript(SCHEMA)
            self._widen()
        except sqlite3.Error as error:
            raise Refused(
                what="the agent cannot start",
                why=f"its journal {path} cannot be used: {error}",
                todo="Free space or mend the file system. Never put an older one there: docs/reference/files.md.",
            ) from error
        self.disks = DiskNotes(self._db)
        self.traces = TraceNotes(self._db)
        self.jobs = JobNotes(self._db)
        self.incidents = IncidentNotes(self._db)
        self.leases = LeaseNotes(self._db, boot)
        self.progress = Progress(self._db, boot)
        self.instance = self._meta("instance", chance.new_id())
        self._read: dict[str, tuple[bytes, Migration]] = {}
        """Migrations as they were read last: of a hundred, which are asked for with each change, one is new."""

    def _widen(self) -> None:
        """A journal of an older agent has no times beside its marks."""
        if "at" not in [row[1] for row in self._db.execute("pragma table_info(mark)")]:
            self._db.execute("alter table mark add column at real not null default 0")

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _meta(self, key: str, default: str) -> str:
        self._db.execute("insert or ignore into meta values (?, ?)", (key, default))
        return str(self._db.execute("select value from meta where key = ?", (key,)).fetchone()[0])

    # The controller

    def leader_epoch(self) -> int:
        """The highest epoch of a leader that was obeyed here; 0 for none."""
        row = self._db.execute("select value from meta where key = 'leader_epoch'").fetchone()
        return int(row[0]) if row else 0

    def put_leader_epoch(self, epoch: int) -> None:
        """Nothing lower is obeyed from now on."""
        self._db.execute("insert or replace into meta values ('leader_epoch', ?)", (str(epoch),))

    def barred(self) -> SignedBarred | None:
        """The newest list of those who are refused; None before the first."""
        row = self._db.execute("select value from meta where key = 'barred'").fetchone()
        return _decode(row[0].encode(), SignedBarred) if row else None

    def put_barred(self, signed: SignedBarred) -> None:
        """A host that starts without a controller refuses them, too."""
        text = msgspec.json.encode(signed).decode()
        self._db.execute("insert or replace into meta values ('barred', ?)", (text,))

    def decided(self) -> Decided | None:
        """What a controller said was decided of this host; None before the first."""
        row = self._db.execute("select value from meta where key = 'decided'").fetchone()
        return _decode(row[0].encode(), Decided) if row else None

    def put_decided(self, decided: Decided) -> None:
        """For a controller that has lost its store."""
        text = msgspec.json.encode(decided).decode()
        self._db.execute("insert or replace into meta values ('decided', ?)", (text,))

    def fleet(self) -> str:
        """The id of the fleet that this host belongs to; empty: none yet."""
        row = self._db.execute("select value from meta where key = 'fleet'").fetchone()
        return str(row[0]) if row else ""

    def put_fleet(self, fleet: str) -> None:
        """No other fleet's controller is obeyed from now on."""
        self._db.execute("insert or replace into meta values ('fleet', ?)", (fleet,))

    def neighbours(self) -> dict[str, str]:
        """Hosts that a controller told of: name -> URL."""
        return dict(self._db.execute("select name, url from neighbour").fetchall())

    def put_neighbour(self, name: str, url: str) -> None:
        """A migration that goes on after a restart needs its peer before a controller is there."""
        self._db.execute("insert or replace into neighbour values (?, ?)", (name, url))

    # Guests and their tokens

    def put_guest(self, guest: Guest, token: Token, wanted: str, reason: str = "") -> None:
        """Keeps a guest and its token in one write."""
        with self._db:
            self._db.execute("begin immediate")
            self._db.execute(
                "insert or replace into guest values (?, ?, ?, ?, ?)",
                (guest.name, msgspec.json.encode(guest), wanted, reason, self._boot),
            )
            self._put_token(guest.uuid, token)
        self.progress.grew()

    def respecify(self, guest: Guest) -> None:
        """Another policy; all else that is known of it stays."""
        self._db.execute("update guest set spec = ? where name = ?", (msgspec.json.encode(guest), guest.name))

    def set_wanted(self, name: str, wanted: str, reason: str = "") -> None:
        """What the guest should be: running or stopped, and why."""
        self._db.execute("update guest set wanted = ?, reason = ? where name = ?", (wanted, reason, name))

    def ran(self, name: str) -> None:
        """The guest runs here since this boot: no peer can have taken it over meanwhile."""
        change = "update guest set wanted = 'running', reason = '', boot = ? where name = ?"
        self._db.execute(change, (self._boot, name))

    def ran_since_boot(self, name: str) -> bool:
        """False for a guest that another host may have taken over while this one was without power."""
        row = self._db.execute("select boot from guest where name = ?", (name,)).fetchone()
        return row is not None and row[0] == self._boot

    def cut_off(self, name: str) -> None:
        """Its host's lease was over: another host may have taken it over meanwhile, as after a loss of power."""
        self._db.execute("update guest set boot = '' where name = ?", (name,))

    def guests(self) -> list[tuple[Guest, str, str]]:
        """(guest, wanted, reason) of every guest that has something on this host."""
        rows = self._db.execute("select spec, wanted, reason from guest order by name")
        return [(_decode(spec, Guest), wanted, reason) for spec, wanted, reason in rows]

    def drop_guest(self, name: str) -> None:
        """Forgets the guest; its token stays as a tombstone that keeps the epoch."""
        self._db.execute("delete from guest where name = ?", (name,))

    def token(self, guest: str) -> Token:
        """The guest's token here; ABSENT with epoch 0 for one never heard of."""
        row = self._db.execute("select value from token where guest = ?", (guest,)).fetchone()
        return _decode(row[0], Token) if row else Token()

    def unsettled_tokens(self) -> list[str]:
        """Guests whose token waits for the word of another host."""
        rows = self._db.execute("select guest, value from token")
        waiting = {Phase.INCOMING, Phase.RELEASED}
        return [guest for guest, value in rows if _decode(value, Token).phase in waiting]

    def put_token(self, guest: str, token: Token) -> None:
        """The write on which everything rests: durable when it returns."""
        self._put_token(guest, token)
        self.progress.grew()

    def _put_token(self, guest: str, token: Token) -> None:
        self._db.execute("insert or replace into token values (?, ?)", (guest, msgspec.json.encode(token)))

    # Migrations

    def put_migration(self, migration: Migration) -> None:
        """Keeps the record; old finished ones make room."""
        value = msgspec.json.encode(migration)
        row = (migration.id, migration.started_s, int(migration.ended), value)
        self._db.execute("insert or replace into migration values (?, ?, ?, ?)", row)

    def note_migration(self, migration: Migration) -> None:
        """Keeps the record without waiting for the disk: it survives the agent, not a power loss."""
        self._db.execute("pragma synchronous=off")
        try:
            self.put_migration(migration)
        finally:
            self._db.execute("pragma synchronous=full")

    def prune(self) -> None:
        """Forgets the oldest finished migrations beyond KEEP_MIGRATIONS, and the marks of all finished."""
        old = "select id from migration where ended = 1 order by started desc limit -1 offset ?"
        self._db.execute(f"delete from migration where id in ({old})", (KEEP_MIGRATIONS,))
        self._db.execute("delete from mark where migration not in (select id from migration where ended = 0)")

    def migrations(self) -> list[Migration]:
        """All records, newest first."""
        rows = self._db.execute("select id, value from migration order by started desc")
        known = self._read
        self._read = {
            number: kept
            if (kept := known.get(number)) and kept[0] == value
            else (value, _decode(value, Migration))
            for number, value in rows
        }
        return [migration for _, migration in self._read.values()]

    def migration(self, number: str) -> Migration | None:
        """One record, by its id or the beginning of it."""
        query = "select value from migration where substr(id, 1, ?) = ? limit 2"
        rows = self._db.execute(query, (len(number), number)).fetchall()
        return _decode(rows[0][0], Migration) if len(rows) == 1 else None

    # Marks of a saga

    def mark(self, migration: str, mark: str, step: str) -> None:
        """Notes what the saga is about to do or has done."""
        row = (migration, mark, step, clock.wall_s())
        self._db.execute("insert into mark (migration, mark, step, at) values (?, ?, ?, ?)", row)

    def marks(self, migration: str) -> list[tuple[str, str]]:
        """(mark, step) in the order written."""
        query = "select mark, step from mark where migration = ? order by n"
        return [(mark, step) for mark, step in self._db.execute(query, (migration,))]

    def timed_marks(self, migration: str) -> list[Mark]:
        """The same, each with its time; only to be shown."""
        query = "select mark, step, at from mark where migration = ? order by n"
        return [Mark(mark, step, at_s) for mark, step, at_s in self._db.execute(query, (migration,))]

    # What guests are told

    def board(self, guest: str) -> Board:
        """What the guest with this uuid was told, and who in it asked for it."""
        row = self._db.execute("select value from notice where guest = ?", (guest,)).fetchone()
        return _decode(row[0], Board) if row else Board()

    def put_board(self, guest: str, board: Board) -> None:
        """Keeps it; an empty one is forgotten."""
        if board == Board():
            self._db.execute("delete from notice where guest = ?", (guest,))
            return
        self._db.execute("insert or replace into notice values (?, ?)", (guest, msgspec.json.encode(board)))

    # Peers

    def peer_instance(self, name: str) -> str:
        """The installation that was known under this name, or an empty string."""
        row = self._db.execute("select instance from peer where name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def put_peer(self, name: str, instance: str) -> None:
        """Remembers which installation answers under this name."""
        self._db.execute("insert or replace into peer values (?, ?)", (name, instance))

    def forget_peer(self, name: str) -> None:
        """The name may be taken by another installation."""
        self._db.execute("delete from peer where name = ?", (name,))


class Marks:
    """The saga log of one migration; `written` is told of each mark once it is durable."""

    def __init__(self, journal: Journal, migration: str, written: Callable[[str], None]) -> None:
        self._journal = journal
        self._migration = migration
        self._written = written

    def begun(self, step: str) -> None:
        """`step` is about to be carried out."""
        self._mark("begun", step)

    def done(self, step: str) -> None:
        """`step` is complete."""
        self._mark("done", step)

    def undoing(self) -> None:
        """From here on only undos are carried out."""
        self._mark("undoing", "")

    def undone(self, step: str) -> None:
        """`step` is taken back."""
        self._mark("undone", step)

    def marks(self) -> list[tuple[str, str]]:
        """(mark, step) in the order written."""
        return self._journal.marks(self._migration)

    def _mark(self, mark: str, step: str) -> None:
        self._journal.mark(self._migration, mark, step)
        self._written(f"{mark} {step}".strip())


def _decode(value: bytes, shape: type[T]) -> T:
    return msgspec.json.decode(value, type=shape)
