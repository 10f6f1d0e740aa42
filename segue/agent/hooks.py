"""Posts each change of an incident of this host to the operator's webhook."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from segue.adapters.webhook import Hook
from segue.agent.services import Services

INCIDENT: Final = "incident"
REST_S: Final = 60.0


async def keep(services: Services) -> None:
    """For as long as the agent lives."""
    hook = Hook(services.config.incidents_url, services.figures.hooked)
    async with asyncio.TaskGroup() as group:
        group.create_task(hook.run())
        group.create_task(_follow(services, hook))


async def _follow(services: Services, hook: Hook) -> None:
    since = 0
    while True:
        async for notice in services.notices.listen(since, REST_S):
            if notice is None:
                continue
            since = notice.seq
            if notice.type == INCIDENT:
                hook.post(msgspec.json.encode({"type": INCIDENT, **notice.data}))
