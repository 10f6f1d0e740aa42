"""Tells whoever listens what changed, in order and numbered; a slow listener never holds the agent up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from segue.adapters import clock
from segue.wire.frames import Notice

KEPT = 2_000
QUEUE = 1_000


class Notices:
    """The last KEPT events, and a bounded queue for each listener."""

    def __init__(self) -> None:
        self._kept: deque[Notice] = deque(maxlen=KEPT)
        self._queues: dict[asyncio.Queue[Notice], None] = {}
        """In their order: a set of them is walked through in another one in each run of a rehearsal."""
        # Numbers go on across restarts of the agent, so that a listener can tell what it has missed.
        self._seq = int(clock.wall_s() * 1e3)

    def tell(self, type_: str, subject: str, data: object) -> None:
        """Tells everybody now."""
        self._seq += 1
        fields: dict[str, Any] = msgspec.to_builtins(data)
        notice = Notice(self._seq, clock.wall_s(), type_, subject, fields)
        self._kept.append(notice)
        for queue in list(self._queues):
            if queue.full():
                self._queues.pop(queue, None)
            else:
                queue.put_nowait(notice)

    async def listen(self, since: int, rest_s: float) -> AsyncIterator[Notice | None]:
        """Everything after number `since` that is still kept, then what comes; None after `rest_s` without any.

        It ends for a listener that is too slow; that one asks again from the last number that it saw.
        """
        queue: asyncio.Queue[Notice] = asyncio.Queue(QUEUE)
        for notice in [kept for kept in self._kept if kept.seq > since][-QUEUE:]:
            queue.put_nowait(notice)
        self._queues[queue] = None
        try:
            while queue in self._queues or not queue.empty():
                yield queue.get_nowait() if not queue.empty() else await _next(queue, rest_s)
        finally:
            self._queues.pop(queue, None)


async def _next(queue: asyncio.Queue[Notice], rest_s: float) -> Notice | None:
    try:
        async with asyncio.timeout(rest_s):
            return await queue.get()
    except TimeoutError:
        return None
