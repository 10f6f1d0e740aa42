"""What a maintenance does to a simulated host: commands that take time or fail, and reboots. It decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.adapters.maintenance.commands import Result
from segue.adapters.maintenance.inventory import Machine
from segue.adapters.qemu import capabilities
from segue.model.maintenance import Order, Scope, Step, StepKind, Strategy
from segue.sim import loop as virtual
from segue.sim.fabric import OUTSIDE
from segue.sim.host import SimHost

TAKES_S: Final = 3.0
DOWN_S: Final = 12.0
SCRIPT: Final = "upgrade"
STEPS: Final = (
    Step(StepKind.CORDON), Step(StepKind.DRAIN, within_s=120.0), Step(StepKind.RUN, SCRIPT, within_s=60.0),
    Step(StepKind.REBOOT, within_s=120.0), Step(StepKind.HEALTH, within_s=60.0), Step(StepKind.VERIFY),
    Step(StepKind.UNCORDON), Step(StepKind.RETURN, within_s=120.0),
)  # fmt: skip


def order(name: str, hosts: tuple[str, ...]) -> Order:
    """A kernel upgrade, host after host, as somebody would write it who has no hours."""
    return Order(name, Scope(hosts=hosts), STEPS, strategy=Strategy(parallel=2, failures=1))


@dataclass(eq=False)
class Tools:
    """Fits `Hands` of agent/jobs.py. What was begun goes on without the agent, and ends with the host's power."""

    host: SimHost

    def begin(self, folder: Path, number: str, script: str, within_s: float) -> None:
        """See Hands."""
        virtual.demand_alive()
        host, loop = self.host, self.host.world.loop
        host.commands[number] = None
        boots = host.boots
        takes_s = host.world.script_s.get(script, TAKES_S)
        loop.call_later(takes_s, self._ends, number, boots, context=OUTSIDE.context)

    def _ends(self, number: str, boots: int) -> None:
        if self.host.powered and self.host.boots == boots and number in self.host.commands:
            self.host.commands[number] = 1 if self.host.commands_fail else 0
            self.host.ended_s[number] = self.host.clock.wall_s()

    def result(self, folder: Path, number: str) -> Result | None:
        """See Hands."""
        code = self.host.commands.get(number)
        if code is None:
            return None
        return Result(code, "", self.host.ended_s[number], "", "", 0)

    def lives(self, folder: Path, number: str) -> bool | None:
        """See Hands."""
        return number in self.host.commands and self.host.commands[number] is None

    def end(self, folder: Path, number: str) -> None:
        """See Hands: what nobody asks for in a rehearsal."""

    def forget(self, folder: Path, number: str) -> None:
        """See Hands."""
        self.host.commands.pop(number, None)

    async def reboot(self, command: Sequence[str]) -> str:
        """See Hands. Whatever runs there goes down with it: that nothing does is for others to see to."""
        await asyncio.sleep(0.1)
        virtual.demand_alive()
        host = self.host
        host.world.checkers.reboots(host)
        host.world.say(host.name, "reboots")
        host.world.loop.call_soon(self._down, context=OUTSIDE.context)
        return ""

    def _down(self) -> None:
        if self.host.powered:
            self.host.cut_power()
            down_s = self.host.world.reboot_s or DOWN_S
            self.host.world.loop.call_later(down_s, self.host.give_power, context=OUTSIDE.context)


def read() -> Machine:
    """Fits `inventory.read`: one machine is like another."""
    return Machine("Debian GNU/Linux 13", "0x1", "simulated", (), "", "")


class Installed:
    """Stands for the capabilities of an installed QEMU that is never another one."""

    @property
    def fingerprint(self) -> object:
        """See Capabilities."""
        return capabilities.fingerprint()
