"""Posts what happened to a URL of the operator's, in order, again after a failure; who hands it in never waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog

log = structlog.get_logger()
Booked = Callable[[str], None]
"""What became of one."""

RESULTS: Final = ("sent", "failed", "dropped")
WAITING_MOST: Final = 256
TRY_S: Final = 10.0
PAUSES_S: Final = (1.0, 2.0, 5.0, 15.0, 30.0)
"""Between the tries; after the last one it is given up."""


def wrong(url: str) -> str:
    """Why nothing could be sent there; empty where it could, or where nothing is wanted."""
    parts = urlsplit(url)
    well = not url or (parts.scheme in {"http", "https"} and parts.hostname)
    return "" if well else f"'{url}' is no whole URL, such as https://alerts.example.org/segue"


class Hook:
    """For one URL. Whoever receives may see one twice: its answer may have been lost."""

    def __init__(self, url: str, booked: Booked) -> None:
        self._url = url
        self._booked = booked
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(WAITING_MOST)

    def post(self, body: bytes) -> None:
        """JSON; returns at once."""
        try:
            self._waiting.put_nowait(body)
        except asyncio.QueueFull:
            self._booked("dropped")

    async def run(self) -> None:
        """For as long as the program lives."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TRY_S)) as session:
            while True:
                body = await self._waiting.get()
                self._booked("sent" if await self._deliver(session, body) else "failed")

    async def _deliver(self, session: aiohttp.ClientSession, body: bytes) -> bool:
        why = ""
        for pause_s in (*PAUSES_S, 0.0):
            try:
                headers = {"content-type": "application/json"}
                async with session.post(self._url, data=body, headers=headers) as answer:
                    if answer.status < 300:
                        return True
                    why = f"HTTP {answer.status}"
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            await asyncio.sleep(pause_s)
        log.warning("a webhook does not take what it is sent", url=self._url, why=why)
        return False
