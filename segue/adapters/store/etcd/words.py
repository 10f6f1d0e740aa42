"""Our commits and entries in etcd's words, and back. Pure; it must never send anything.

Under the fleet's prefix, `keys/` holds the entries and `once/` a short-lived mark of each commit that creates a key: a
request that etcd takes twice is done once, even if the key was deleted in between. A value begins with the tag of the
commit that wrote it, and a line feed.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from segue.adapters.store.etcd import shapes
from segue.errors import Kind, Refused
from segue.model.store import Batch, Change, Commit, Entry, Event

Json = dict[str, Any]
TAG_CHARS: Final = 64


class Words:
    """The vocabulary of one fleet."""

    def __init__(self, prefix: str) -> None:
        self._keys = f"{prefix}/keys/"
        self._once = f"{prefix}/once/"

    def key(self, key: str) -> str:
        """As etcd wants it in JSON."""
        return _base64(f"{self._keys}{key}".encode())

    def span(self, prefix: str, after: str = "") -> Json:
        """All keys that begin so, or those behind the key `after`."""
        first = f"{self._keys}{prefix}".encode()
        # A key that begins so is below the prefix with its last byte raised, which is never 0xff here.
        end = first[:-1] + bytes([first[-1] + 1])
        begin = f"{self._keys}{after}\0".encode() if after else first
        return {"key": _base64(begin), "range_end": _base64(end)}

    def txn(self, commit: Commit, once_lease: int, *, last_time: bool) -> Json:
        """The commit as a transaction; the other branch reads what stood in its way.

        last_time: should it not be done now, no request of it that is still on its way is done later.
        """
        compare = [_compare(self.key(change.key), change.revision) for change in commit.changes]
        success = [self._act(change, commit.tag) for change in commit.changes]
        failure = [{"request_range": {"key": self.key(change.key)}} for change in commit.changes]
        if commit.fence is not None:
            compare.append(_compare(self.key(commit.fence.key), commit.fence.revision))
            failure.append({"request_range": {"key": self.key(commit.fence.key)}})
        if once_lease:
            mark = _base64(f"{self._once}{commit.tag}".encode())
            compare.append(_compare(mark, 0))
            put = {"request_put": {"key": mark, "lease": str(once_lease)}}
            success.append(put)
            failure += [put] * last_time
        return {"compare": compare, "success": success, "failure": failure}

    def _act(self, change: Change, tag: str) -> Json:
        key = self.key(change.key)
        if change.value is None:
            return {"request_delete_range": {"key": key}}
        value = _base64(tag.encode() + b"\n" + change.value)
        return {"request_put": {"key": key, "value": value, "lease": str(change.lease)}}

    def entry(self, kv: shapes.KeyValue) -> Entry:
        """What etcd holds as an entry. Raises Refused for a value that segue did not write."""
        key = kv.key.decode(errors="replace").removeprefix(self._keys)
        tag, line_feed, value = kv.value.partition(b"\n")
        if not line_feed or len(tag) > TAG_CHARS:
            raise Refused(
                what=f"cannot read {key} from etcd",
                why="its value was not written by segue",
                todo="Look with etcdctl who wrote it, and delete it or choose another prefix in the store's URL.",
                kind=Kind.CONFLICT,
            )
        return Entry(key, value, kv.mod_revision, kv.lease, tag.decode(errors="replace"))

    def entries(self, found: shapes.Range) -> tuple[Entry, ...]:
        """All of an answer."""
        return tuple(self.entry(kv) for kv in found.kvs)

    def batch(self, part: shapes.Watched) -> Batch:
        """A part of a watch; one without events is a report of how far it is."""
        events = tuple(self._events(part))
        return Batch(events[-1].revision if events else part.header.revision, events)

    def _events(self, part: shapes.Watched) -> Iterator[Event]:
        for seen in part.events:
            key = seen.kv.key.decode(errors="replace").removeprefix(self._keys)
            yield Event(key, seen.kv.mod_revision, None if seen.type == "DELETE" else self.entry(seen.kv))


def creates(commit: Commit) -> bool:
    """True if doing it twice could bring back what was deleted in between; else a revision is in the way."""
    return any(change.revision == 0 for change in commit.changes)


def _compare(key: str, revision: int) -> Json:
    """For etcd, too, 0 is the revision of what is not there."""
    return {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(revision)}


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
