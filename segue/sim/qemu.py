"""A simulated QEMU: what of a guest exists on one host, and how its memory gets to another. The checkers watch it.

It does what it is told, as the real one does: whether a guest may run is not its business.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segue.adapters import clock
from segue.adapters.inlet import Inlet
from segue.adapters.qemu.command import Places
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.memory_landing import MemoryLanding
from segue.adapters.qemu.monitor import Monitor, QemuGone
from segue.model.guest import Guest
from segue.model.ladder import Shape
from segue.sim import loop as virtual

if TYPE_CHECKING:
    from segue.sim.copying import Copying
    from segue.sim.host import SimHost

START_S = 0.15
STOP_S = 0.002


@dataclass(eq=False)
class Qemu:
    """One process. `content` stands for all of its memory: equal numbers, equal memory."""

    host: SimHost
    guest: Guest
    incoming: bool
    number: int
    content: int = 0
    running: bool = False
    ran: bool = False
    """A vCPU of it has run at least once."""
    complete: bool = False
    alive: bool = True
    failed: bool = False
    """What came in broke off: it never will be complete."""
    refuses: bool = False
    """A fault: it does not let its guest run."""
    outgoing: Copying | None = None
    stopped_at_s: float = 0.0
    machines: list[SimMachine] = field(default_factory=list)
    loaded: asyncio.Event = field(default_factory=asyncio.Event)

    def cont(self) -> float:
        """Lets the vCPUs run. Raises QemuGone."""
        virtual.demand_alive()
        self._demand_here()
        if self.refuses:
            raise QemuGone("QEMU ended when it was told to run its guest")
        if not self.running:
            if not self.incoming and not self.ran:
                self.host.world.checkers.boots(self)
            self.host.world.checkers.resumed(self)
            self.running = self.ran = True
            self.content = self.host.world.new_content()
            self.host.world.latest[self.guest.uuid] = self.content
        self._tell()
        return self._now_s()

    def stop(self) -> float:
        """The vCPUs stand. Raises QemuGone."""
        virtual.demand_alive()
        self._demand_here()
        if self.running:
            self.running, self.stopped_at_s = False, self._now_s()
            self.host.world.checkers.stopped(self)
        self._tell()
        return self.stopped_at_s

    def loads(self, content: int) -> None:
        """All memory and the devices' state are here."""
        self.content, self.complete = content, True
        self.loaded.set()

    def breaks_off(self) -> None:
        """The sender hung up before all was here."""
        if self.alive and not self.complete:
            self.failed = True
            self.loaded.set()

    def end(self) -> None:
        """As by SIGKILL. Safe to repeat."""
        if self.alive and not self.incoming and not self.ran and self.host.owns(self.guest.uuid):
            self.host.world.killed.add(self.guest.uuid)  # Somebody has to try once more.
        self.alive = self.running = False
        if self.outgoing is not None:
            self.outgoing.hang_up()
        self.loaded.set()
        for machine in self.machines:
            machine.ended()
        self.host.qemus.pop(self.guest.uuid, None)

    def _demand_here(self) -> None:
        if not self.alive:
            raise QemuGone("QEMU has ended")

    def _tell(self) -> None:
        for machine in self.machines:
            machine.note()

    def _now_s(self) -> float:
        return clock.wall_s()


class SimMonitor(Monitor):
    """Says of a QEMU what the agent's code asks beside the copy itself."""

    def __init__(self, qemu: Qemu) -> None:
        self._qemu = qemu
        self._changed = asyncio.Condition()
        self.gone = asyncio.Event()

    def on_event(self, heard: Any) -> None:
        """There are none: `SimMachine.note` says what changed."""

    async def execute(self, command: str, *, within_s: float = 0.0, oob: bool = False, **_named: Any) -> Any:
        """The few questions that are left."""
        virtual.demand_alive()
        if not self._qemu.alive:
            raise QemuGone(f"QEMU hung up before {command}")
        match command:
            case "query-status":
                return {"status": "running" if self._qemu.running else "paused"}
            case "query-migrate":
                return {"status": "none"}
            case "system_powerdown":
                self._qemu.end()
                return {}
            case _:
                return []

    async def close(self) -> None:
        """Nothing was opened."""


class SimMachine(Machine):
    """What an agent holds of a QEMU; another agent that comes after it holds another."""

    def __init__(self, qemu: Qemu) -> None:
        self.qemu = qemu
        self.guest = qemu.guest
        self.places = Places(Path("/nowhere") / qemu.guest.name)
        self.monitor = SimMonitor(qemu)
        self.pid = qemu.number
        self.ended_by_guest = ""
        self.reset_by_guest = 0
        self.stopped_at_s = self.resumed_at_s = 0.0
        self.note()
        qemu.machines.append(self)

    def note(self) -> None:
        """QEMU's events."""
        self.running, self.fresh = self.qemu.running, not self.qemu.ran

    def ended(self) -> None:
        """QEMU is no more."""
        self.running = False
        self.monitor.gone.set()

    def alive(self) -> bool:
        """See Machine."""
        return self.qemu.alive

    async def cont(self) -> float:
        """See Machine."""
        await asyncio.sleep(STOP_S)
        if not self.qemu.alive:
            self.qemu.host.world.may_have_run.add(self.guest.uuid)
        self.resumed_at_s = self.qemu.cont()
        return self.resumed_at_s

    async def stop(self) -> float:
        """See Machine."""
        await asyncio.sleep(STOP_S)
        self.stopped_at_s = self.qemu.stop()
        return self.stopped_at_s

    async def describe(self, *, devices: bool) -> None:
        """See Machine."""

    async def announce(self) -> None:
        """There are no switches."""

    async def power_button(self) -> None:
        """A guest that obeys at once."""
        self.qemu.end()

    async def end(self) -> None:
        """See Machine."""
        virtual.demand_alive()
        self.qemu.end()


class SimLanding(MemoryLanding):
    """The target's half of a copy."""

    def __init__(self, machine: SimMachine) -> None:
        self._qemu = machine.qemu

    async def open(self, inlet: Inlet, shape: Shape, tls_creds: str, *, bitmaps: bool) -> str:
        """See MemoryLanding; the port is the number of the process."""
        return f"{self._qemu.host.name}:{self._qemu.number}"

    @property
    def is_complete(self) -> bool:
        """See MemoryLanding."""
        return self._qemu.complete

    async def complete(self, within_s: float) -> bool:
        """See MemoryLanding."""
        try:
            async with asyncio.timeout(within_s):
                await self._qemu.loaded.wait()
        except TimeoutError:
            return False
        if not self._qemu.alive:
            raise QemuGone("QEMU ended while its memory came in")
        return self._qemu.complete
