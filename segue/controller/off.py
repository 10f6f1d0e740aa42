"""Whether hosts that were proved to be off are off at this moment, and what others see of one that is not heard of.

It must never call a host off of which anybody has a sign of life, and never count one as dark (it need not be asked who
has a guest) whose guests only a lease has ended: its agent may live, and still speak and hear.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

import structlog

from segue.adapters import sight
from segue.controller import leases, losses
from segue.controller.app import Controller
from segue.errors import SegueError
from segue.model.fencing import Death, Power, ProofKind, Sight
from segue.policy import hostloss

log = structlog.get_logger()
SIGHT_S: Final = 2.5
FENCE_S: Final = 20.0
DOUBT_S: Final = 20.0
"""So long a BMC may take to contradict a person."""


async def sights(controller: Controller, host: str) -> dict[str, Sight]:
    """What all others that can be asked see of it, and what we see; who does not answer has no opinion."""
    report = controller.mirror.reports.get(host)
    found: dict[str, Sight] = {}

    async def ask(other: str) -> None:
        try:
            path = f"/v1/sights/{host}"
            told = await controller.links.call(other, "GET", path, within_s=SIGHT_S)
            found[other] = Sight(told["sight"])
        except (SegueError, KeyError, ValueError) as error:
            log.info("no second opinion", of=other, about=host, why=str(error))

    async def ask_ourselves() -> None:
        if report is not None:
            found[hostloss.CONTROLLER] = await sight.look(report.value.url)

    await asyncio.gather(
        ask_ourselves(), *(ask(other) for other in sorted(controller.links.linked() - {host}))
    )
    return found


async def demand(controller: Controller, death: Death) -> None:
    """Once more, after an heir's journal has it: whatever ran there in between is gone. Raises Refused."""
    assert death.proof is not None
    if not death.proof.of_power:
        # As long as they refuse it gets none, whether it lives or not; and nobody takes a guest from it.
        await leases.demand_denied(controller, death, everybody=True)
    elif not await _is_off(controller, death, order=True):
        raise losses.refused(f"{death.host} is not off", "it lives, whatever was said of it: switch it off")


async def dark(controller: Controller, hosts: Iterable[str]) -> set[str]:
    """Those of them that are proved to have no power, and have none now. No order is given: one that has it again is
    about to come back, and can be asked then."""
    deaths, linked = controller.mirror.deaths, controller.links.linked()
    known = [deaths.get(host) for host in hosts if host not in linked]
    by_power = [kept.value for kept in known if kept and kept.value.proof and kept.value.proof.of_power]
    seen = await asyncio.gather(*(_looks_off(controller, death) for death in by_power))
    return {death.host for death, is_off in zip(by_power, seen, strict=True) if is_off}


async def _looks_off(controller: Controller, death: Death) -> bool:
    try:
        return await _is_off(controller, death, order=False)
    except SegueError as error:
        log.warning("a dead host is not known to be off", host=death.host, why=str(error))
        return False


async def _is_off(controller: Controller, death: Death, *, order: bool) -> bool:
    """order: its power is taken once more where it has some. Raises Refused where its BMC does not say."""
    assert death.proof is not None
    host, powers = death.host, controller.powers
    by_person = death.proof.kind is ProofKind.PERSON
    try:
        bmc = powers.of(host)
        async with asyncio.timeout(DOUBT_S if by_person else None):
            is_off = await bmc.power() is Power.OFF
        ordered = order and not is_off and powers.may_fence(host)
        return is_off or (ordered and await bmc.off(FENCE_S) is Power.OFF)
    except (SegueError, TimeoutError):
        if not by_person:
            raise
        seen = await sights(controller, host)
        return host not in controller.links.linked() and set(seen.values()) <= {Sight.SILENT}
