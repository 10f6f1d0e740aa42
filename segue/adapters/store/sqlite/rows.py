"""The verbs of a store as rows of SQLite. Each runs in a transaction that the caller opens; none may wait or commit."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from segue.model.store import (
    Batch,
    Commit,
    Compacted,
    Conflict,
    Entry,
    Event,
    Fence,
    Fenced,
    Lease,
    LeaseGone,
)

BEYOND: Final = "\x7f"  # sorts behind every letter that a key may have
SCAN_EVENTS: Final = 1000
KEEP_REVISIONS: Final = 10_000
PRUNE_EVERY: Final = 1000
BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


def revision(db: sqlite3.Connection) -> int:
    """Of the last commit."""
    return _meta(db, "revision")


def get(db: sqlite3.Connection, key: str) -> Entry | None:
    """What stands under the key."""
    row = db.execute("select key, value, revision, lease, tag from entry where key = ?", (key,)).fetchone()
    return Entry(*row) if row else None


def page(db: sqlite3.Connection, prefix: str, last: str, most: int) -> tuple[Entry, ...]:
    """The next entries under the prefix, after the key `last`."""
    found = db.execute(
        "select key, value, revision, lease, tag from entry where key >= ? and key < ? and key > ? "
        "order by key limit ?",
        (prefix, prefix + BEYOND, last, most),
    )
    return tuple(Entry(*row) for row in found)


def events(db: sqlite3.Connection, prefix: str, after: int) -> Batch:
    """What happened after that revision, up to the last one looked at. Raises Compacted."""
    now, compacted = revision(db), _meta(db, "compacted")
    if after > now:
        raise Compacted(after, f"this store is at revision {now} and was never there")
    if after < compacted:
        raise Compacted(after, f"what happened before revision {compacted} is not kept")
    upto = _scan_end(db, after, now)
    query = "select key, revision, value, lease, tag from event where revision > ? and revision <= ? order by revision"
    found = [_event(row) for row in db.execute(query, (after, upto)) if row[0].startswith(prefix)]
    return Batch(upto, tuple(found))


def _scan_end(db: sqlite3.Connection, after: int, now: int) -> int:
    """A revision that ends a scan of bounded length without tearing a commit apart."""
    query = "select revision from event where revision > ? order by revision limit 1 offset ?"
    row = db.execute(query, (after, SCAN_EVENTS)).fetchone()
    return int(row[0]) if row else now


def _event(row: tuple[str, int, bytes | None, int, str]) -> Event:
    key, number, value, lease, tag = row
    return Event(key, number, None if value is None else Entry(key, value, number, lease, tag))


def done_before(db: sqlite3.Connection, tag: str) -> int:
    """The revision of the commit with this tag; 0: it was not done, as far as events are kept."""
    row = db.execute("select revision from event where tag = ? limit 1", (tag,)).fetchone()
    return int(row[0]) if row else 0


def apply(db: sqlite3.Connection, commit: Commit) -> int:
    """Does a commit whose conditions hold; its revision. Raises Fenced, Conflict, LeaseGone before any write."""
    _demand_fence(db, commit.fence)
    for change in commit.changes:
        current = get(db, change.key)
        if (current.revision if current else 0) != change.revision:
            raise Conflict(change.key, current)
    for lease in {change.lease for change in commit.changes if change.lease and change.value is not None}:
        if db.execute("select 1 from lease where id = ?", (lease,)).fetchone() is None:
            raise LeaseGone(lease)
    number = _next_revision(db)
    for change in commit.changes:
        _write(db, number, change.key, change.value, change.lease, commit.tag)
    return number


def _demand_fence(db: sqlite3.Connection, fence: Fence | None) -> None:
    if fence is not None:
        held = get(db, fence.key)
        if held is None or held.revision != fence.revision:
            raise Fenced(fence)


def _write(db: sqlite3.Connection, number: int, key: str, value: bytes | None, lease: int, tag: str) -> None:
    if value is None:
        db.execute("delete from entry where key = ?", (key,))
    else:
        db.execute("insert or replace into entry values (?, ?, ?, ?, ?)", (key, value, number, lease, tag))
    db.execute("insert into event values (?, ?, ?, ?, ?)", (number, key, value, lease, tag))


def _next_revision(db: sqlite3.Connection) -> int:
    (number,) = db.execute(
        "update meta set value = value + 1 where key = 'revision' returning value"
    ).fetchone()
    if number % PRUNE_EVERY == 0:
        compact(db, number - KEEP_REVISIONS)
    return int(number)


def compact(db: sqlite3.Connection, upto: int) -> None:
    """Forgets what happened up to that revision; what stands in the store stays."""
    if upto > _meta(db, "compacted"):
        db.execute("delete from event where revision <= ?", (upto,))
        db.execute("update meta set value = ? where key = 'compacted'", (upto,))


# Leases: their ends are on the clock of this host since its boot, which nobody can put forward or back


def grant(db: sqlite3.Connection, lease: Lease, now_s: float) -> None:
    """Begins a lease."""
    row = (lease.id, lease.ttl_s, now_s + lease.ttl_s, _boot())
    db.execute("insert into lease values (?, ?, ?, ?)", row)


def prolong(db: sqlite3.Connection, lease: Lease, now_s: float) -> None:
    """The lease lasts its whole time from now. Raises LeaseGone."""
    if not db.execute("update lease set ends_s = ? + ttl_s where id = ?", (now_s, lease.id)).rowcount:
        raise LeaseGone(lease.id)


def end(db: sqlite3.Connection, leases: Iterable[int]) -> int:
    """Ends leases with their keys; how many there were."""
    ended = 0
    for lease in leases:
        ended += db.execute("delete from lease where id = ?", (lease,)).rowcount
        keys = [key for (key,) in db.execute("select key from entry where lease = ?", (lease,))]
        if keys:
            number = _next_revision(db)
            for key in keys:
                _write(db, number, key, None, 0, "")
    return ended


def due(db: sqlite3.Connection, now_s: float) -> list[int]:
    """Leases whose time is over."""
    return [
        lease for (lease,) in db.execute("select id from lease where ends_s <= ? order by ends_s", (now_s,))
    ]


def adopt(db: sqlite3.Connection, now_s: float) -> None:
    """After a boot the clock began anew: leases from before it get their whole time once more."""
    db.execute("update lease set ends_s = ? + ttl_s, boot = ? where boot != ?", (now_s, _boot(), _boot()))


@functools.cache
def _boot() -> str:
    return BOOT.read_text().strip()


def _meta(db: sqlite3.Connection, key: str) -> int:
    return int(db.execute("select value from meta where key = ?", (key,)).fetchone()[0])
