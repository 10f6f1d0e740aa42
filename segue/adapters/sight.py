"""Asks whether a host's kernel gives any sign of life at an address. It decides nothing."""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from segue.model.fencing import Sight

WITHIN_S: Final = 1.0


async def look(url: str, within_s: float = WITHIN_S) -> Sight:
    """A port that refuses is a kernel that lives. Raises nothing: whatever else happens is silence."""
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
