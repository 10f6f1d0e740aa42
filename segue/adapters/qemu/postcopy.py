"""The source's half of a post-copy: a guest that ran here serves its memory to the one that runs there."""

from __future__ import annotations

from typing import Any, Final

import structlog

from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Event, QemuGone, QemuRefused
from segue.model.arrival import Flow, Serving

log = structlog.get_logger()

CAPABILITIES: Final = ("postcopy-ram", "postcopy-preempt")
"""Both sides need the same, before the copy begins. Preemption: a page that a processor waits for has a
connection of its own, and does not queue behind the background copy."""
SWITCHED: Final = frozenset(
    {"postcopy-device", "postcopy-active", "postcopy-paused", "postcopy-recover-setup", "postcopy-recover"}
)
FLOWS: Final = {
    "postcopy-device": Flow.FLOWING,
    "postcopy-active": Flow.FLOWING,
    "postcopy-paused": Flow.BROKEN,
    "postcopy-recover-setup": Flow.BROKEN,
    "postcopy-recover": Flow.BROKEN,
    "completed": Flow.WHOLE,
}
PAUSE_S: Final = 5.0
RECOVER_S: Final = 20.0


class PageServer:
    """QEMU of the source. After the switch its guest stands for good, and only its memory is still of use."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = ""
        self._changes = 0
        machine.monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self._status = str(event["data"]["status"])
            self._changes += 1

    async def serve_all(self, bytes_per_s: int) -> None:
        """What the guest does not wait for follows, too, as fast as that; 0 for no cap. Within 0.1 s: QEMU sleeps."""
        await self._machine.monitor.execute("migrate-set-parameters", max_postcopy_bandwidth=bytes_per_s)

    async def serving(self) -> Serving:
        """Where it stands. A QEMU that has ended is GONE."""
        try:
            info = await self._machine.monitor.execute("query-migrate")
        except QemuGone:
            return Serving(Flow.GONE)
        self._status = str(info.get("status", "none"))
        ram = info.get("ram", {})
        return Serving(
            FLOWS.get(self._status, Flow.COPYING),
            remaining_bytes=int(ram.get("remaining", 0)),
            total_bytes=int(ram.get("total", 0)),
            transferred_bytes=int(ram.get("transferred", 0)),
            asked_pages=int(ram.get("postcopy-requests", 0)),
            link_bytes_per_s=float(ram.get("mbps", 0.0)) * 125_000,
        )

    async def pause(self) -> None:
        """Lets go of a connection that is dead, whatever TCP still hopes. Safe to repeat."""
        await pause(self._machine)
        if (await self.serving()).flow is Flow.FLOWING:
            await self._machine.monitor.until(lambda: self._flow is not Flow.FLOWING, within_s=PAUSE_S)

    async def reconnect(self, address: str) -> bool:
        """Goes on over a new connection to host:port; False where that did not succeed, and it still waits."""
        host, _, port = address.rpartition(":")
        addr = {"transport": "socket", "type": "inet", "host": host, "port": port}
        channel = {"channel-type": "main", "addr": addr}
        before = self._changes
        try:
            await self._machine.monitor.execute("migrate", channels=[channel], resume=True)
            await self._machine.monitor.until(lambda: self._decided(before), within_s=RECOVER_S)
        except (QemuRefused, TimeoutError) as error:
            log.info("the copy did not go on", guest=self._machine.guest.name, error=str(error))
        return (await self.serving()).flow in {Flow.FLOWING, Flow.WHOLE}

    @property
    def _flow(self) -> Flow:
        return FLOWS.get(self._status, Flow.COPYING)

    def _decided(self, before: int) -> bool:
        waits_again = self._changes > before and self._status == "postcopy-paused"
        return waits_again or self._flow in {Flow.FLOWING, Flow.WHOLE}


async def pause(machine: Machine) -> None:
    """Both sides: the connection is let go of. Heard out of band, because the other monitor may wait for a page."""
    try:
        await machine.monitor.execute("migrate-pause", oob=True)
    except QemuRefused as error:
        log.debug("nothing to pause", guest=machine.guest.name, why=str(error))


async def status(machine: Machine) -> str:
    """QEMU's own word for the copy."""
    info: dict[str, Any] = await machine.monitor.execute("query-migrate")
    return str(info.get("status", "none"))
