"""Guests that wait on their own host, after a loss of power, for the word of hosts that have none: they need not.

It must never let one start of which a controller has given a higher epoch to another host, nor while any host that can
be asked has a part in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import structlog

from segue.adapters import clock
from segue.controller import fleet, off
from segue.controller.app import Controller
from segue.errors import SegueError
from segue.model.crash import OTHERS_ARE_ASKED
from segue.wire.frames import Shown

log = structlog.get_logger()
ASK_S: Final = 5.0
DUE_S: Final = 10.0
"""An agent that waits for a host tries again every few seconds; what is due later waits for something else."""


def silent(controller: Controller) -> set[str]:
    """Hosts of the fleet that cannot be asked."""
    return fleet.members(controller.mirror) - controller.links.linked()


def waiting(controller: Controller) -> list[Shown]:
    """Guests that start on their own host, which is connected, as soon as all others have been heard."""
    mirror, linked, now_s = controller.mirror, controller.links.linked(), clock.wall_s()
    names = [
        hit.guest
        for incident in mirror.incidents.values()
        if incident.is_open and 0 < incident.due_s < now_s + DUE_S
        if incident.cause in OTHERS_ARE_ASKED and incident.host in linked
        for hit in incident.hits
        if not hit.back_s
    ]
    owners = fleet.owners(mirror) if names else {}  # It is asked often, and reads all that the fleet has.
    found = [owners[name] for name in names if name in owners]
    return [shown for shown in found if shown.host in linked and shown.phase == "owner"]


async def settle(controller: Controller) -> None:
    """One round over all of them."""
    if silent(controller):
        await vouch(controller, waiting(controller))


async def vouch(controller: Controller, guests: Sequence[Shown]) -> None:
    """Tells the hosts of these guests whom they need not ask: nobody, where one that is away may have power."""
    away = silent(controller) if guests else set()
    if not away or away - await off.dark(controller, away):
        return
    for shown in guests:
        try:
            if await _is_nowhere_else(controller, shown):
                body = {"epoch": shown.epoch, "dark": sorted(away)}
                await _call(controller, shown.host, "PUT", f"/v1/successions/{shown.spec.uuid}/heard", body)
                log.warning("a guest need not wait", guest=shown.name, host=shown.host, dark=sorted(away))
        except SegueError as error:
            log.warning("a guest waits on its host", guest=shown.name, host=shown.host, why=str(error))


async def _is_nowhere_else(controller: Controller, shown: Shown) -> bool:
    """By the store, and by every other host that can be asked."""
    uuid, kept = shown.spec.uuid, controller.mirror.successions.get(shown.spec.uuid)
    if kept and (
        not kept.value.ended_s or (kept.value.heir != shown.host and kept.value.epoch > shown.epoch)
    ):
        return False
    others = sorted(controller.links.linked() - {shown.host})
    asked = (_call(controller, host, "GET", f"/v1/successions/{uuid}", None) for host in others)
    parts = await asyncio.gather(*asked)
    return all(part["phase"] == "absent" and part["claim"] <= shown.epoch for part in parts)


async def _call(controller: Controller, host: str, method: str, path: str, body: object) -> Any:
    return await controller.links.call(host, method, path, body, within_s=ASK_S)
