"""What this host can see of a guest that crashed, or that may hang: evidence and pulses. It judges nothing.

Nothing here may hold up the agent for long: logs are read in a thread, and whoever does not answer is not waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from segue.adapters import clock, evidence
from segue.adapters.counters import Counters
from segue.adapters.net.steering import tap_name
from segue.adapters.oci.places import AppPlaces
from segue.adapters.qemu import guest_agent
from segue.adapters.qemu.command import Places
from segue.adapters.qemu.guest_agent import NoGuestAgent
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuGone, QemuRefused
from segue.model.guest import Guest
from segue.model.health import Health, Level
from segue.model.incident import Evidence
from segue.policy.crash import Pulse

ANSWER_S: Final = 4.0
SPEAK_S: Final = 3.0
LOG_BYTES: Final = 2048
CONSOLE_BYTES: Final = 6144
KERNEL_LINES: Final = 40
NO_CORE: Final = (
    "there is none: the memory of guests is never written to a file (prlimit --core=0, dump-guest-core=off)"
)


class Senses(Protocol):
    """What the record of crashes needs of the host."""

    health: Callable[[], Health | None]
    """What is known of its hardware; None before anything is."""

    async def evidence(self, guest: Guest, machine: Machine | None) -> tuple[Evidence, ...]:
        """What shows why it ended, as far as it can be seen now."""
        ...

    async def evidence_of_app(self, guest: Guest, how: str) -> tuple[Evidence, ...]:
        """The same for an application; how: it ended."""
        ...

    async def pulse(self, guest: Guest, machine: Machine) -> Pulse | None:
        """One look at a running guest; None where its QEMU does not answer."""
        ...


class HostSenses:
    """The real ones."""

    def __init__(
        self, places: Callable[[Guest], Places], app_places: Callable[[Guest], AppPlaces], kmsg: Path
    ) -> None:
        self._places = places
        self._app_places = app_places
        self._kmsg = kmsg
        self._counters = Counters()
        self.health: Callable[[], Health | None] = lambda: None

    async def evidence(self, guest: Guest, machine: Machine | None) -> tuple[Evidence, ...]:
        """See Senses."""
        return (
            Evidence("QEMU's process", await asyncio.to_thread(_ended, machine)),
            Evidence("health of the host", _said(self.health())),
            *await asyncio.to_thread(self._logs, self._places(guest)),
            Evidence("core dump", NO_CORE),
        )

    async def evidence_of_app(self, guest: Guest, how: str) -> tuple[Evidence, ...]:
        """See Senses."""
        return (
            Evidence("its first process", f"it ended: {how}"),
            Evidence("health of the host", _said(self.health())),
            *await asyncio.to_thread(self._app_logs, self._app_places(guest)),
        )

    def _app_logs(self, places: AppPlaces) -> tuple[Evidence, ...]:
        output, memory = places.logs / "current", places.cgroup / "memory.events"
        return (
            Evidence(f"its output, {output}", evidence.tail(output, CONSOLE_BYTES)),
            Evidence(f"its cgroup, {memory}", evidence.tail(memory, LOG_BYTES)),
            Evidence(f"kernel log, {self._kmsg}", evidence.kernel_log(self._kmsg, KERNEL_LINES)),
        )

    def _logs(self, places: Places) -> tuple[Evidence, ...]:
        return (
            Evidence(f"QEMU's log, {places.log}", evidence.tail(places.log, LOG_BYTES)),
            Evidence(
                f"serial console, {places.console_log}", evidence.tail(places.console_log, CONSOLE_BYTES)
            ),
            Evidence(f"kernel log, {self._kmsg}", evidence.kernel_log(self._kmsg, KERNEL_LINES)),
        )

    async def pulse(self, guest: Guest, machine: Machine) -> Pulse | None:
        """See Senses."""
        try:
            await machine.monitor.execute("query-status", within_s=ANSWER_S)
            speaks = await guest_agent.is_there(machine) and await _speaks(machine)
        except TimeoutError:
            return None
        except (QemuGone, QemuRefused):
            return Pulse(clock.steady_s(), answers=False, moved=0)  # Its end is noticed elsewhere.
        return Pulse(clock.steady_s(), speaks, self._moved(guest, machine))

    def _moved(self, guest: Guest, machine: Machine) -> int:
        taps = [tap_name(guest.name, nic) for nic in guest.nics]
        try:
            seen = self._counters.guest(machine.pid, self._counters.traffic(), taps)
        except OSError:
            return 0
        return seen.sent_bytes + seen.read_bytes + seen.written_bytes


async def _speaks(machine: Machine) -> bool:
    try:
        async with guest_agent.talk(machine.places.guest_agent, SPEAK_S):
            return True
    except NoGuestAgent:
        return False


def _ended(machine: Machine | None) -> str:
    if machine is not None and machine.alive():
        return f"process {machine.pid} was still there; its guest {'ran' if machine.running else 'stood'}"
    said = machine.ending.said() if machine is not None and machine.ending is not None else ""
    return said or "it is gone; how it ended is not known, as an earlier agent had started it"


def _said(health: Health | None) -> str:
    if health is None:
        return "not known yet"
    bad = [part for part in health.parts if part.level is not Level.HEALTHY]
    lines = [f"{part.part}: {part.level}: {reason.text}" for part in bad for reason in part.reasons]
    return "\n".join([f"{health.level}{': ' if health.text else ''}{health.text}", *lines])
