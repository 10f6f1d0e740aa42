"""Receives a guest's memory and device state in an empty QEMU; never lets the guest run."""

from __future__ import annotations

from typing import Any

from segue.adapters.inlet import Inlet
from segue.adapters.qemu import postcopy_landing, settings
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Event
from segue.model.ladder import Shape


class MemoryLanding:
    """The target's half: an empty, paused guest that waits for its memory."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = "none"
        machine.monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self._status = str(event["data"]["status"])

    async def open(self, inlet: Inlet, shape: Shape, tls_creds: str, *, bitmaps: bool) -> str:
        """Listens; host:port to send to. Safe to repeat.

        tls_creds: QEMU's object with the key of this migration, empty for a plain channel.
        bitmaps: the dirty bitmaps of its disks come along.
        """
        execute = self._machine.monitor.execute
        listening = await self._listening()
        if listening:
            return listening
        states = {
            "events": True,
            "return-path": True,
            "multifd": bool(shape.channels),
            "dirty-bitmaps": bitmaps,
        }
        states |= dict.fromkeys(postcopy_landing.CAPABILITIES, shape.post_copy)
        await execute(
            "migrate-set-capabilities",
            capabilities=[{"capability": n, "state": on} for n, on in states.items()],
        )
        await execute("migrate-set-parameters", tls_creds=tls_creds, **settings.multifd(shape))
        place: dict[str, Any] = {
            "transport": "socket",
            "type": "inet",
            "host": inlet.address,
            "port": str(inlet.first),
        }
        if inlet.first:
            place["to"] = inlet.last
        channel = {"channel-type": "main", "addr": place}
        # exit-on-error off: a target that exits takes the reason of the failure with it.
        await execute("migrate-incoming", channels=[channel], exit_on_error=False)
        return await self._listening()

    async def _listening(self) -> str:
        info = await self._machine.monitor.execute("query-migrate")
        places = info.get("socket-address") or []
        return f"{places[0]['host']}:{places[0]['port']}" if places else ""

    @property
    def is_complete(self) -> bool:
        """True once QEMU said so."""
        return self._status == "completed"

    async def complete(self, within_s: float) -> bool:
        """True once all memory and device state is here; waits for it at most `within_s`."""
        if self._status not in {"completed", "failed"}:
            info = await self._machine.monitor.execute("query-migrate")
            self._status = str(info.get("status", self._status))
        if self._status not in {"completed", "failed"} and within_s > 0:
            try:
                await self._machine.monitor.until(
                    lambda: self._status in {"completed", "failed"}, within_s=within_s
                )
            except TimeoutError:
                return False
        return self._status == "completed"
