"""Copies a guest's memory and device state from one QEMU to another; when is for others to decide."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import structlog

from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import Event, QemuGone, QemuRefused
from segue.errors import Aborted
from segue.model.migration import Progress

log = structlog.get_logger()

ACTIVE = frozenset({"setup", "active", "pre-switchover", "device", "cancelling"})
FREE_SPEED = 1 << 50
"""QEMU's own default cap is 128 MiB/s; this is no cap."""
DOWNTIME_LIMIT_MS = 1
"""With the switch-over held this only decides how eagerly QEMU re-reads the dirty bitmap."""


class MemoryCopy:
    """The source's half. The switch-over is held until the guest is stopped by us: QEMU, asked for an
    acknowledgement that no target ever sends, keeps copying; a stopped guest it completes at once, and
    having seen our stop first it can never start the guest again by itself."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = "none"
        self._rounds = 0
        self._started_s = time.monotonic()
        self.completed_at_s = 0.0
        machine.monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self._status = str(event["data"]["status"])
        elif event["event"] == "MIGRATION_PASS":
            self._rounds = int(event["data"]["pass"])

    async def begin(self, address: str, bandwidth_bytes_per_s: int) -> None:
        """Starts the copy to `address` (host:port); a copy that already goes on is left alone."""
        if await self._refresh() in ACTIVE:
            return
        execute = self._machine.monitor.execute
        names = ("events", "return-path", "switchover-ack", "pause-before-switchover")
        states = {
            "events": True,
            "return-path": True,
            "switchover-ack": True,
            "pause-before-switchover": False,
        }
        await execute(
            "migrate-set-capabilities", capabilities=[{"capability": n, "state": states[n]} for n in names]
        )
        await execute(
            "migrate-set-parameters",
            max_bandwidth=bandwidth_bytes_per_s or FREE_SPEED,
            downtime_limit=DOWNTIME_LIMIT_MS,
            # We announce at the moment of our choice; QEMU's own rounds follow.
            announce_initial=20,
            announce_step=50,
            announce_rounds=5,
        )
        self._started_s = time.monotonic()
        host, _, port = address.rpartition(":")
        channel = {
            "channel-type": "main",
            "addr": {"transport": "socket", "type": "inet", "host": host, "port": port},
        }
        await execute("migrate", channels=[channel])

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """A sample at the end of each round, and at least every `within_s` seconds."""
        seen = -1
        while True:
            seen = await self._next_round(seen, within_s)
            yield await self.sample()

    async def _next_round(self, seen: int, within_s: float) -> int:
        def moved() -> bool:
            return self._rounds != seen or self._status not in ACTIVE

        try:
            await self._machine.monitor.until(moved, within_s=within_s)
        except TimeoutError:
            return seen
        if self._status not in ACTIVE:
            raise await self._ended_early()
        return self._rounds

    async def sample(self) -> Progress:
        """Where the copy stands now."""
        info = await self._machine.monitor.execute("query-migrate")
        ram = info.get("ram", {})
        page = int(ram.get("page-size", 4096))
        return Progress(
            round=int(ram.get("dirty-sync-count", 0)),
            total_bytes=int(ram.get("total", 0)),
            remaining_bytes=int(ram.get("remaining", 0)),
            transferred_bytes=int(ram.get("transferred", 0)),
            dirty_bytes_per_s=float(ram.get("dirty-pages-rate", 0)) * page,
            link_bytes_per_s=float(ram.get("mbps", 0.0)) * 125_000,
            elapsed_s=time.monotonic() - self._started_s,
        )

    async def completed(self, within_s: float) -> None:
        """Returns when the target said that it loaded everything. Raises Aborted, TimeoutError, QemuGone."""
        await self._machine.monitor.until(lambda: self._status not in ACTIVE, within_s=within_s)
        if self._status != "completed":
            raise await self._ended_early()

    async def cancel(self, within_s: float = 10.0) -> None:
        """Ends a copy wherever it is, also when the link is dead. Safe to repeat."""
        # A cut link leaves QEMU writing into a full socket, deaf on its monitor until TCP gives up minutes
        # later; yank is heard out of band and closes the socket.
        try:
            await self._machine.monitor.execute("yank", oob=True, instances=[{"type": "migration"}])
        except QemuRefused:
            log.debug("no copy was under way", guest=self._machine.guest.name)
        if await self._refresh() in ACTIVE:
            await self._machine.monitor.execute("migrate_cancel", within_s=within_s)
            await self._machine.monitor.until(lambda: self._status not in ACTIVE, within_s=within_s)

    async def _refresh(self) -> str:
        info = await self._machine.monitor.execute("query-migrate")
        self._status = str(info.get("status", "none"))
        return self._status

    async def _ended_early(self) -> Aborted | QemuGone:
        info = await self._machine.monitor.execute("query-migrate")
        reason = info.get("error-desc", f"QEMU says {info.get('status', 'nothing')}")
        return Aborted(
            what=f"the copy of {self._machine.guest.name}'s memory ended before its time",
            why=str(reason),
            todo="Look at the link between the two hosts and at the target's QEMU, then try again.",
        )


class MemoryLanding:
    """The target's half: an empty, paused guest that waits for its memory."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._status = "none"
        machine.monitor.on_event(self._note)

    def _note(self, event: Event) -> None:
        if event["event"] == "MIGRATION":
            self._status = str(event["data"]["status"])

    async def open(self, address: str) -> str:
        """Listens at `address` on a free port; host:port to send to. Safe to repeat."""
        execute = self._machine.monitor.execute
        listening = await self._listening()
        if listening:
            return listening
        names = ("events", "return-path")
        await execute(
            "migrate-set-capabilities", capabilities=[{"capability": n, "state": True} for n in names]
        )
        channel = {
            "channel-type": "main",
            "addr": {"transport": "socket", "type": "inet", "host": address, "port": "0"},
        }
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

    async def announce(self) -> None:
        """Makes switches learn the guest's new place: RARP for each card, five times within a second."""
        await self._machine.monitor.execute("announce-self", initial=20, max=200, rounds=5, step=50)
