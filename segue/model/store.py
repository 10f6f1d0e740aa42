"""The nouns of the fleet's store: entries, changes, leases, and what can become of a write.

Nothing here reads or writes a store; the verbs are `segue/engine/store.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from segue.errors import Kind, Refused, Unknown

KEY: Final = re.compile(r"[A-Za-z0-9._~:@+=-]+(/[A-Za-z0-9._~:@+=-]+)*")
KEY_CHARS: Final = 512
VALUE_BYTES: Final = 256 << 10
CHANGES: Final = 100
COMMIT_BYTES: Final = 1 << 20
"""etcd takes 128 operations and 1.5 MiB in one request; a tag and base64 must fit, too."""
LEASE_LEAST_S: Final = 1.0
LEASE_MOST_S: Final = 3600.0


@dataclass(frozen=True)
class Entry:
    """What stands under a key. `revision`: of the commit that wrote it, and its version for compare-and-set."""

    key: str
    value: bytes
    revision: int
    lease: int = 0
    """The lease it vanishes with; 0: it stays."""
    tag: str = ""
    """Names the commit that wrote it, so that whoever lost the answer can recognise it."""


@dataclass(frozen=True)
class Change:
    """One key of a commit. `revision`: of the entry that stands there now; 0: none does. No `value`: it goes."""

    key: str
    revision: int
    value: bytes | None
    lease: int = 0


def create(key: str, value: bytes, lease: int = 0) -> Change:
    """Writes a key that is not there."""
    return Change(key, 0, value, lease)


def replace(entry: Entry, value: bytes) -> Change:
    """Compare-and-set: writes the key if it still holds this entry; its lease stays the same."""
    return Change(entry.key, entry.revision, value, entry.lease)


def delete(entry: Entry) -> Change:
    """Takes the key away if it still holds this entry."""
    return Change(entry.key, entry.revision, None)


@dataclass(frozen=True)
class Fence:
    """A commit with a fence is done only while this key still holds the entry of this revision.

    A leader names the key by which it leads: once another leads, nothing that it still sends is taken.
    """

    key: str
    revision: int


@dataclass(frozen=True)
class Commit:
    """Changes that are done all or not at all, under one revision."""

    tag: str
    changes: tuple[Change, ...]
    fence: Fence | None = None


@dataclass(frozen=True)
class Page:
    """A part of a list. All pages of one list show the store at the same `revision`."""

    revision: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Event:
    """A key was written, or went (no `entry`)."""

    key: str
    revision: int
    entry: Entry | None


@dataclass(frozen=True)
class Batch:
    """Everything that happened under a prefix up to `revision`; a commit is never torn apart."""

    revision: int
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Lease:
    """A time that has to be prolonged. `ttl_s`: as granted, which may be more than was asked for."""

    id: int
    ttl_s: float


class Conflict(Refused):
    """Nothing was changed: the key does not hold what the change expected. `current`: what it holds, if known."""

    def __init__(self, key: str, current: Entry | None) -> None:
        super().__init__(
            what=f"{key} was not changed",
            why=f"it is at revision {current.revision}" if current else "it is not there",
            todo="Read it again, and decide again.",
            kind=Kind.CONFLICT,
        )
        self.key = key
        self.current = current


class Fenced(Refused):
    """Nothing was changed: the right to write was lost to another."""

    def __init__(self, fence: Fence) -> None:
        super().__init__(
            what="nothing was written to the store",
            why=f"{fence.key} is not held any more since revision {fence.revision}",
            todo="Nothing: another controller leads now and goes on with the work.",
            kind=Kind.CONFLICT,
        )
        self.fence = fence


class LeaseGone(Refused):
    """The lease ended: its time was over, or somebody ended it. All keys bound to it are gone, or go now."""

    def __init__(self, lease: int) -> None:
        super().__init__(
            what=f"lease {lease:x} does not hold",
            why="its time was over before it was prolonged, or it was ended",
            todo="Take a new lease, and read again what it stood for.",
            kind=Kind.CONFLICT,
        )
        self.lease = lease


class Compacted(Refused):
    """The store does not keep what followed this revision, or never had it: list again, watch from there."""

    def __init__(self, revision: int, why: str) -> None:
        super().__init__(
            what=f"cannot go on from revision {revision}",
            why=why,
            todo="List again, and watch from the revision of that list.",
            kind=Kind.CONFLICT,
        )
        self.revision = revision


class Away(Refused):
    """The store does not answer, or cannot: nothing was changed, for certain."""


class OutcomeUnknown(Unknown):
    """No answer to a write that was sent: it was done, or is done later, or never. See engine/certainty.py."""

    def __init__(self, commit: Commit, why: str, since: int) -> None:
        keys = ", ".join(sorted({change.key for change in commit.changes}))
        super().__init__(
            what=f"it is not known whether {keys} was written",
            why=why,
            todo="Read it, or do the same again: it is not done twice.",
            kind=Kind.UNREACHABLE,
        )
        self.commit = commit
        self.since = since
        """A revision that the store had before the commit was sent."""


def demand_lawful(commit: Commit) -> None:
    """The same bounds for every store, so that what one takes another takes. Raises Refused."""
    keys = [change.key for change in commit.changes]
    size = sum(len(change.key) + len(change.value or b"") for change in commit.changes)
    problems = [f"{key[:40]!r} cannot be a key" for key in keys if not lawful_key(key)]
    problems += [
        f"{change.key} has {len(change.value)} bytes, more than {VALUE_BYTES}"
        for change in commit.changes
        if change.value is not None and len(change.value) > VALUE_BYTES
    ]
    problems += [
        f"{change.key} cannot be at revision {change.revision}" for change in commit.changes if _odd(change)
    ]
    if len(set(keys)) < len(keys):
        problems.append("a key is there twice")
    if not 1 <= len(keys) <= CHANGES:
        problems.append(f"it has {len(keys)} changes, not 1 to {CHANGES}")
    if size > COMMIT_BYTES:
        problems.append(f"it has {size} bytes, more than {COMMIT_BYTES}")
    if problems:
        raise Refused(
            what="a commit was not sent to the store",
            why="; ".join(problems[:3]),
            todo="Split it, or keep less in it.",
            kind=Kind.USAGE,
        )


def lawful_key(key: str) -> bool:
    """Words of harmless letters with single slashes between."""
    return len(key) <= KEY_CHARS and KEY.fullmatch(key) is not None


def demand_lawful_ttl(ttl_s: float) -> None:
    """Raises Refused."""
    if not LEASE_LEAST_S <= ttl_s <= LEASE_MOST_S:
        raise Refused(
            what="no lease was taken",
            why=f"{ttl_s:g} s is not between {LEASE_LEAST_S:g} and {LEASE_MOST_S:g} s",
            todo="Choose another time.",
            kind=Kind.USAGE,
        )


def _odd(change: Change) -> bool:
    """Deleting what is not there would be a write that writes nothing."""
    return change.revision < 0 or (change.value is None and change.revision == 0)
