"""The target's half of a post-copy: a guest that runs here waits for pages that are not here yet.

Its QEMU may stand still altogether while it waits for one, its main loop included. So everything here is heard by
events and said out of band, and nothing waits for an ordinary command.
"""

from __future__ import annotations

import structlog

from segue.adapters.inlet import Inlet
from segue.adapters.qemu import hatch, postcopy
from segue.adapters.qemu.command import Places
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Event, QemuGone, QemuRefused
from segue.model.arrival import Flow, Presence

log = structlog.get_logger()

CAPABILITIES = (*postcopy.CAPABILITIES, "postcopy-blocktime")
ASK_S = 2.0
LOOK_S = 0.002
"""QEMU has no event for `all device state is loaded`; it is asked this often, in the blackout."""
LISTEN_TRIES = 5


class PageReceiver:
    """QEMU of the target. `flow` follows its events."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = ""
        self._loaded = False
        machine.monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self._status = str(event["data"]["status"])

    @property
    def flow(self) -> Flow:
        """Where the copy stands here."""
        if not self._machine.alive():
            return Flow.GONE
        return postcopy.FLOWS.get(self._status, Flow.COPYING)

    @property
    def loaded(self) -> bool:
        """True once the guest could run: its device state is here, whatever its memory."""
        return self._loaded

    async def take_up(self) -> None:
        """After a restart of the agent: asks once. A QEMU too busy with waiting to answer is after the switch."""
        try:
            info = await self._machine.monitor.execute("query-migrate", within_s=ASK_S)
            self._status = str(info.get("status", "none"))
            await self._look()
        except TimeoutError:
            self._status, self._loaded = "postcopy-paused", True

    async def wait_loaded(self, within_s: float) -> bool:
        """Waits until the device state is here. False when time is up or the copy has failed."""
        try:
            await self._machine.monitor.until(
                lambda: self.flow is not Flow.COPYING or self._status == "failed", within_s=within_s
            )
            while not await self._look() and self.flow is not Flow.COPYING:
                await self._pause()
        except (TimeoutError, QemuGone):
            return False
        return self._loaded

    async def _look(self) -> bool:
        """The status alone does not say it: QEMU is `postcopy-active` before it has loaded a single device."""
        if self.flow is not Flow.COPYING and not self._loaded:
            answer = await self._machine.monitor.execute("query-status", within_s=ASK_S)
            self._loaded = str(answer["status"]) != "inmigrate"
        return self._loaded

    async def _pause(self) -> None:
        try:
            await self._machine.monitor.until(lambda: self.flow is Flow.GONE, within_s=LOOK_S)
        except TimeoutError:
            return

    async def listen_again(self, inlet: Inlet) -> str:
        """Lets go of the old connection and waits for another; host:port. Raises QemuRefused, OSError.

        The port is chosen here, because a QEMU that waits for a page cannot be asked which one it took.
        """
        if self.flow is Flow.FLOWING:
            await postcopy.pause(self._machine)
            await self._machine.monitor.until(
                lambda: self.flow is not Flow.FLOWING, within_s=postcopy.PAUSE_S
            )
        for left in reversed(range(LISTEN_TRIES)):
            address = f"{inlet.address}:{inlet.free_port()}"
            try:
                await self._machine.monitor.execute(
                    "migrate-recover", oob=True, uri=f"tcp:{address}", within_s=ASK_S
                )
                return address
            except QemuRefused:
                if not left:
                    raise
        raise AssertionError("the loop returns or raises")

    async def arrival(self) -> Presence:
        """The word for the source."""
        blocked_s = 0.0
        if self.flow is Flow.WHOLE:
            info = await self._machine.monitor.execute("query-migrate")
            blocked_s = info.get("postcopy-blocktime", 0) / 1e3
        return Presence(self.flow, self._loaded, blocked_s)


def listen_unheard(places: Places, inlet: Inlet) -> str:
    """The same for a QEMU that answers nobody: it is told, and whether it listens the source finds out."""
    address = f"{inlet.address}:{inlet.free_port()}"
    hatch.say(places, "migrate-pause")
    hatch.say(places, "migrate-recover", uri=f"tcp:{address}")
    return address
