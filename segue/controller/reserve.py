"""Watches whether the fleet could lose any one host, and says so before it does. It changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import structlog

from segue.controller import fleet
from segue.controller.app import Controller
from segue.policy import lease, reserve

log = structlog.get_logger()
LOOK_S: Final = 30.0
TOO_FEW: Final = f"a fleet needs {lease.VOTERS_LEAST} hosts for that"


async def keep(controller: Controller) -> None:
    """For as long as the tenure lasts; what was found is forgotten with it."""
    try:
        while True:
            seen = await fleet.looked(controller.mirror, controller.loads)
            found = await asyncio.to_thread(reserve.lacking, seen)
            for host in sorted(found.keys() - controller.lacking.keys()):
                log.warning("no reserve for a host", host=host, guests=", ".join(found[host][:20]))
            controller.lacking = found
            await asyncio.sleep(LOOK_S)
    finally:
        controller.lacking = {}


def warnings(controller: Controller, hosts: list[str]) -> Iterator[str]:
    """For people who may see these hosts, but perhaps not all guests on them: with those that are lost now."""
    for death in controller.mirror.deaths.values():
        if death.host in hosts and death.why:
            yield f"{death.host} is lost: {death.why}"
    for host, names in sorted(controller.lacking.items()):
        if host in hosts:
            yield f"if {host} died, {len(names)} of its guests would find no place"
    yield from _without_lease(controller, hosts)


def _without_lease(controller: Controller, hosts: list[str]) -> Iterator[str]:
    """Hosts whose guests should run by a lease, and do not: if one were cut off nothing would be proved."""
    for report in controller.mirror.reports.values():
        facts, kept = report.facts.lease, controller.mirror.charters.get(report.name)
        if report.name not in hosts or not report.linked or facts is None or not facts.wanted:
            continue
        if facts.why and not facts.lives:
            yield f"the guests of {report.name} run without the lease that it wants: {facts.why}"
        elif kept is None:
            yield f"the guests of {report.name} run without the lease that it wants: {TOO_FEW}"
