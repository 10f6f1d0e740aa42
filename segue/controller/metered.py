"""A store that is measured while it is used. It must never change what is asked of it or what is answered."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from segue.adapters import clock
from segue.adapters.metrics import Meter
from segue.engine.store import Store
from segue.errors import SegueError
from segue.model.store import Away, Batch, Change, Conflict, Entry, Fence, Fenced, Lease, OutcomeUnknown, Page

ERRORS: Final = {Away: "away", OutcomeUnknown: "unknown", Conflict: "conflict", Fenced: "fenced"}
WAITING_MOST: Final = 1000
"""Commits that the watch has not shown yet; of more than that the oldest are not measured."""


class MeteredStore:
    """Engine port `Store`."""

    def __init__(self, store: Store, meter: Meter, backend: str) -> None:
        self._store = store
        self._meter = meter
        self._backend = backend
        self._waiting: deque[tuple[int, float]] = deque(maxlen=WAITING_MOST)
        """(revision, when its commit was answered), the oldest first."""
        self._shown = 0

    async def get(self, key: str) -> Entry | None:
        """See engine/store.py."""
        async with self._timed("get"):
            return await self._store.get(key)

    async def list(self, prefix: str) -> AsyncGenerator[Page, None]:
        """See engine/store.py. Measured until the first page is there: how fast the rest is read is the reader's."""
        async with aclosing(self._store.list(prefix)) as pages:
            async with self._timed("list"):
                first = await anext(pages)
            yield first
            async for page in pages:
                yield page

    async def commit(self, *changes: Change, fence: Fence | None = None, tag: str = "") -> int:
        """See engine/store.py."""
        async with self._timed("commit"):
            revision = await self._store.commit(*changes, fence=fence, tag=tag)
        if revision > self._shown:
            self._waiting.append((revision, clock.steady_s()))
        else:
            self._lag(0.0)  # The watch was faster than the answer.
        return revision

    async def watch(self, prefix: str, after: int) -> AsyncGenerator[Batch, None]:
        """See engine/store.py."""
        async with aclosing(self._store.watch(prefix, after)) as batches:
            async for batch in batches:
                if not prefix:  # Others say how far they are without having shown what lies elsewhere.
                    self._show(batch.revision)
                yield batch

    async def lease(self, ttl_s: float) -> Lease:
        """See engine/store.py."""
        async with self._timed("lease"):
            return await self._store.lease(ttl_s)

    async def keep_alive(self, lease: Lease) -> None:
        """See engine/store.py."""
        async with self._timed("keep_alive"):
            await self._store.keep_alive(lease)

    async def revoke(self, lease: Lease) -> None:
        """See engine/store.py."""
        async with self._timed("revoke"):
            await self._store.revoke(lease)

    async def close(self) -> None:
        """See engine/store.py."""
        await self._store.close()

    def _show(self, revision: int) -> None:
        self._shown = max(self._shown, revision)
        while self._waiting and self._waiting[0][0] <= self._shown:
            self._lag(clock.steady_s() - self._waiting.popleft()[1])

    def _lag(self, seconds: float) -> None:
        self._meter.observe("segue_store_event_lag_seconds", seconds, self._backend)

    @asynccontextmanager
    async def _timed(self, op: str) -> AsyncIterator[None]:
        begun_s = clock.steady_s()
        try:
            yield
        except SegueError as error:
            word = next((word for sort, word in ERRORS.items() if isinstance(error, sort)), "other")
            self._meter.count("segue_store_errors_total", op, self._backend, word)
            raise
        self._meter.observe("segue_store_op_seconds", clock.steady_s() - begun_s, op, self._backend)
