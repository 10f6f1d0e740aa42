"""A host that wants no lease has no guard, and its agent says nothing about that."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from segue.agent.lease import Lease
from segue.sim.agent import SimServices
from segue.sim.host import SimHost
from tests.agent.one_host import play


def test_without_a_lease_nothing_is_said_about_one() -> None:
    async def work(_: SimHost, services: SimServices) -> None:
        assert isinstance(services.lease, Lease)
        with capture_logs() as told:
            keeping = asyncio.create_task(services.lease.keep())
            await asyncio.sleep(10.0)  # Of virtual time.
            keeping.cancel()
        assert services.lease.facts() is None
        assert told == []

    play(work)
