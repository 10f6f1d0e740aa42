"""Asks whether a host's kernel gives any sign of life at an address. It decides nothing.

A rehearsal gives its programs other eyes, as it gives them other clocks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Final
from urllib.parse import urlsplit

from segue.model.fencing import Sight

WITHIN_S: Final = 1.0
Look = Callable[[str, float], Awaitable[Sight]]

_given: ContextVar[Look | None] = ContextVar("sight", default=None)


def give(look: Look) -> None:
    """From here on, in this context and in every task that it starts, this is what is seen."""
    _given.set(look)


async def look(url: str, within_s: float = WITHIN_S) -> Sight:
    """A port that refuses is a kernel that lives. Raises nothing: whatever else happens is silence."""
    if (given := _given.get()) is not None:
        return await given(url, within_s)
    parts = urlsplit(url)
    try:
        async with asyncio.timeout(within_s):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (ConnectionRefusedError, ConnectionResetError):
        return Sight.ANSWERS
    except (OSError, TimeoutError):
        return Sight.SILENT
    writer.transport.abort()
    return Sight.ANSWERS
