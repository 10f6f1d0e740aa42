"""The store port: where a fleet keeps what was decided and reported. Only the promises; it must never hold code.

**Revisions.** Each commit that changes something gets one revision, larger than any before. `get`, `list` and `commit`
are linearizable: they see every commit that was answered before they began, whoever made it and through whichever
member. `watch` may be late, never out of order, and never leaves anything out.

**Errors.** A `Refused` changed nothing, for certain: `Conflict`, `Fenced`, `LeaseGone`, `Compacted`, `Away`.
A write whose answer was lost raises `OutcomeUnknown`: it may be done already, or still later, or never. Each commit
has a tag, which stands in the entries that it wrote, so reading tells; `certainty.make_sure` reads and does the rest.
To commit again with the same tag is safe. A cancelled call is the same as one whose answer was lost.
Each call ends within the time that its store was opened with.

**Leases.** A lease lasts at least its time since the keep-alive that was last *sent* and confirmed. Soon after that the
keys bound to it go, in a commit of their own which watchers see. It may last longer (another member took over), never
shorter, but for the difference of two clocks' rates.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from segue.model.store import Batch, Change, Entry, Fence, Lease, Page


class Store(Protocol):
    """One fleet's keys. Bounds of keys, values and commits: `model/store.py`."""

    async def get(self, key: str) -> Entry | None:
        """What stands there now."""
        ...

    def list(self, prefix: str) -> AsyncGenerator[Page, None]:
        """All keys that begin so, in the order of their bytes, as they were at one revision; at least one page.

        Raises Compacted where the reader was so slow that the revision is not kept any more.
        """
        ...

    async def commit(self, *changes: Change, fence: Fence | None = None, tag: str = "") -> int:
        """Does all changes or none; the revision under which they were done.

        Create, compare-and-set and delete are the three sorts of change: `model.store.create`, `replace`, `delete`.
        Raises Fenced, or Conflict for a key that is not as expected. tag: only of a commit that is tried again.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """What happened under the prefix after that revision, and goes on happening.

        It finds another member by itself. A batch without events only says how far the watch is. Raises Compacted
        where what followed `after` is not kept any more or the store never was there; Away after a silence.
        """
        ...

    async def lease(self, ttl_s: float) -> Lease:
        """A new lease of at least that time."""
        ...

    async def keep_alive(self, lease: Lease) -> None:
        """The lease lasts its whole time from the moment at which this was called. Raises LeaseGone."""
        ...

    async def revoke(self, lease: Lease) -> None:
        """Ends the lease and its keys now; one that has ended already is no error."""
        ...

    async def close(self) -> None:
        """Ends connections and watches; leases last on."""
        ...
