"""Keeps this host's certificate young: asks the controller for the next one in time, over the connection that is there.

It must never disturb what runs: connections that stand stay, and a renewal that fails leaves everything as it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from segue.adapters import chance, clock
from segue.adapters.own_tls import OwnTls
from segue.errors import SegueError
from segue.policy import renewal
from segue.wire import link

log = structlog.get_logger()
ANSWER_S: Final = 30.0
LOOK_S: Final = 3600.0
"""The clock may be set while we wait."""


class Renewal:
    """One for the agent's life; `run` once for each connection."""

    def __init__(self, own: OwnTls, name: str) -> None:
        self.own = own
        self._name = name
        self._draw = chance.between(0.0, 1.0)
        self._answer: asyncio.Future[link.Renewed] | None = None

    async def run(self, send: Callable[[link.Renew], Awaitable[None]]) -> None:
        """For as long as the connection stands."""
        while True:
            await self._until_due()
            try:
                await self._once(send)
                self._draw = chance.between(0.0, 1.0)
            except (SegueError, TimeoutError, OSError, ValueError) as error:
                self.own.problem = str(error) or f"no answer within {ANSWER_S:g} s"
                log.warning("the certificate is not renewed yet", why=self.own.problem)
                ends_s = self.own.certificate().ends_s
                await asyncio.sleep(renewal.again_in_s(ends_s, clock.wall_s(), chance.between(0.0, 1.0)))

    def answered(self, answer: link.Renewed) -> None:
        """One that nobody waits for any more is of no use: its key is gone."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    async def _until_due(self) -> None:
        while True:
            own = self.own.certificate()
            left_s = renewal.due_s(own.begins_s, own.ends_s, self._draw) - clock.wall_s()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, LOOK_S))

    async def _once(self, send: Callable[[link.Renew], Awaitable[None]]) -> None:
        self._answer = asyncio.get_running_loop().create_future()
        await send(link.Renew(self.own.request(self._name)))
        async with asyncio.timeout(ANSWER_S):
            answer = await self._answer
        if not answer.certificate:
            raise ValueError(f"the controller says: {answer.why}")
        self.own.renew(answer.certificate.encode(), answer.ca.encode())
        log.info("the certificate is renewed", ends_s=self.own.certificate().ends_s)
