"""The store seen as server-sent events that resume by revision; what is the controllers' own is left out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import msgspec

from segue.engine.store import Store
from segue.errors import SegueError
from segue.model.store import Batch, Event

SHOWN: Final = {
    "hosts/": "host",
    "reports/": "host.report",
    "guests/": "guest",
    "health/": "host.health",
    "migrations/": "migration",
    "tasks/": "task",
    "balance/": "balance",
    "bookings/": "booking",
    "rules/": "rule",
    "wishes/": "wishes",
    "domains/": "domain",
    "maintenances/": "maintenance",
    "maintenance-hosts/": "maintenance.host",
    "incidents/": "incident",
    "leader/holder": "leader",
}
KEEPALIVE_S: Final = 15.0
FIRST_S: Final = 0.2


async def opened(store: Store, after: int) -> AsyncIterator[bytes]:
    """The stream. Raises Compacted at once where it cannot go on from there: list again, and follow from that."""
    batches = store.watch("", after)
    first = asyncio.ensure_future(anext(batches))
    done, _ = await asyncio.wait({first}, timeout=FIRST_S)
    if done and (error := first.exception()):
        await batches.aclose()
        raise error
    return _lines(batches, first)


async def _lines(batches: AsyncIterator[Batch], first: asyncio.Future[Batch]) -> AsyncIterator[bytes]:
    coming = first
    yield b": segue\n\n"
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=KEEPALIVE_S)
            if not done:
                yield b": still here\n\n"
                continue
            yield shown(coming.result())
            coming = asyncio.ensure_future(anext(batches))
    except (SegueError, StopAsyncIteration):
        return  # The client connects again with the last id that it saw.
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError, SegueError, StopAsyncIteration):
            await coming
        await batches.aclose()  # type: ignore[attr-defined]


def shown(batch: Batch) -> bytes:
    """One commit's events. Only the last bears the id, so that none is left out when a client resumes in between."""
    lines = [_line(event) for event in batch.events if _type(event.key)]
    if not lines:
        return b": nothing for you\n\n"
    lines[-1] = b"id: %d\n" % batch.revision + lines[-1]
    return b"".join(lines)


def _line(event: Event) -> bytes:
    value = msgspec.Raw(event.entry.value) if event.entry else None
    body = msgspec.json.encode({"key": event.key, "revision": event.revision, "value": value})
    return b"event: %s\ndata: %s\n\n" % (_type(event.key).encode(), body)


def _type(key: str) -> str:
    return next((name for prefix, name in SHOWN.items() if key.startswith(prefix)), "")
