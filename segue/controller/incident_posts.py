"""Posts each change of an incident of the fleet to the operator's webhook: a host that died cannot post its own.

It must never hold up who leads: what nobody takes is given up, and counted.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

import msgspec

from segue.adapters import clock
from segue.adapters.webhook import Hook
from segue.controller.app import Controller
from segue.model.incident import Incident

INCIDENT: Final = "incident"
FAMILY: Final = "segue_incident_posts_total"
LOOK_S: Final = 0.5
LATELY_S: Final = 600.0
"""A new leader does not know what the one before has posted: what is open, or was over so lately, is posted again."""


async def keep(controller: Controller) -> None:
    """For as long as the tenure lasts, or for nothing where no webhook is wanted."""
    if not controller.incidents_url:
        return
    hook = Hook(controller.incidents_url, partial(controller.meter.count, FAMILY))
    async with asyncio.TaskGroup() as group:
        group.create_task(hook.run())
        group.create_task(_follow(controller, hook))


async def _follow(controller: Controller, hook: Hook) -> None:
    told: dict[str, int] = {}
    while True:
        now_s, known = clock.wall_s(), controller.mirror.incidents.items()
        for number, kept in sorted(known.items(), key=lambda pair: pair[1].entry.revision):
            if kept.entry.revision == told.get(number):
                continue
            if number in told or _is_news(kept.value, now_s):
                hook.post(msgspec.json.encode({"type": INCIDENT, **msgspec.to_builtins(kept.value)}))
            told[number] = kept.entry.revision
        told = {number: revision for number, revision in told.items() if number in known}
        await asyncio.sleep(LOOK_S)


def _is_news(incident: Incident, now_s: float) -> bool:
    return incident.is_open or now_s - incident.ended_s < LATELY_S
