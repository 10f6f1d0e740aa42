"""Takes away a timer that QEMU may leave behind a broken copy, and that would end the guest within seconds.

With auto-converge a timer has QEMU read the dirty bitmap where nothing else did so for 5 s (migration/cpu-throttle.c).
A copy that is stuck in a dead connection holds the bitmap's lock, so the timer waits until the copy fails. Under TCG
it then waits for a processor, letting go of the big lock (system/physmem.c, tcg_log_global_after_sync): the copy
stops the timer, and the timer, which is not done yet, sets itself anew. 5 s later it fires beside no copy at all:
`migration_bitmap_sync_precopy: Assertion ram_state failed`. Under KVM nobody lets go of the lock.

A copy that ends well stops the timer for good. So one is begun, to nowhere, and cancelled at once.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from segue.adapters.qemu import postcopy, settings
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Monitor, QemuRefused

log = structlog.get_logger()

NOWHERE: Final = {"transport": "file", "filename": "/dev/null", "offset": 0}
ENDED: Final = frozenset({"none", "completed", "failed", "cancelled"})
LOOK_S: Final = 0.01
WITHIN_S: Final = 4.0
"""The timer fires 5 s after it was set."""


async def clear(machine: Machine) -> None:
    """After a copy that did not end well. Does nothing where there can be no such timer; safe to repeat."""
    monitor = machine.monitor
    if not await _throttled(monitor):
        return
    try:
        async with asyncio.timeout(WITHIN_S):
            await _forgotten(monitor)
            await _send_nowhere(machine)
            await monitor.execute("migrate-set-capabilities", capabilities=settings.only())
    except (TimeoutError, QemuRefused) as error:
        log.warning("a timer of QEMU may be left behind a broken copy", error=str(error))


async def _throttled(monitor: Monitor) -> bool:
    found = await monitor.execute("query-migrate-capabilities")
    return any(one["capability"] == "auto-converge" and one["state"] for one in found)


async def is_forgotten(monitor: Monitor) -> bool:
    """The old copy is cleared up: only then may another begin."""
    return all(one["type"] != "migration" for one in await monitor.execute("query-yank"))


async def _forgotten(monitor: Monitor) -> None:
    while not await is_forgotten(monitor):
        await asyncio.sleep(LOOK_S)


async def _send_nowhere(machine: Machine) -> None:
    monitor = machine.monitor
    await monitor.execute("migrate-set-capabilities", capabilities=settings.only("auto-converge"))
    await monitor.execute(
        "migrate-set-parameters", max_bandwidth=settings.TRICKLE, tls_creds="", downtime_limit=0
    )
    await monitor.execute("migrate", channels=[{"channel-type": "main", "addr": NOWHERE}])
    while await postcopy.status(machine) == "setup":
        await asyncio.sleep(LOOK_S)
    await monitor.execute("migrate_cancel")
    while await postcopy.status(machine) not in ENDED:
        await asyncio.sleep(LOOK_S)
    await _forgotten(monitor)
