"""Simulated BMCs, and the file that knows them: what takes a host's power away, and what goes wrong with that.

They must never say `off` of a host that has power: a rehearsal cannot show what nothing could survive.
"""

from __future__ import annotations

import asyncio
from typing import Final

from segue.adapters.fence.redfish import FRESH_S, LOOK_S, STEADY_S, Redfish
from segue.controller.power import Powers
from segue.errors import Kind, Refused
from segue.model.fencing import Bmc, Power
from segue.sim import loop as virtual
from segue.sim.fabric import OUTSIDE
from segue.sim.host import SimHost
from segue.sim.world import World

ANSWER_S: Final = 0.2
SILENT_S: Final = 3.0
OFF_S: Final = 0.3
"""A BMC that is well takes the power away within this time."""
BACK_S: Final = (8.0, 60.0)
"""Somebody switches a fenced host on again, sooner or later."""


class SimBmc(Redfish):
    """Fits `Redfish`: the same questions, the same patience, no network."""

    def __init__(self, machine: SimHost, bmc: Bmc) -> None:
        super().__init__(machine.name, bmc)
        self._machine = machine

    async def power(self) -> Power:
        """See Redfish."""
        if self._machine.bmc.away:
            await asyncio.sleep(SILENT_S)
            raise _refused(self._machine.name, "its BMC does not answer", Kind.UNREACHABLE)
        await asyncio.sleep(ANSWER_S)
        return Power.ON if self._machine.powered else Power.OFF

    async def stays_off(self) -> bool:
        """See Redfish."""
        loop = self._machine.world.loop
        until_s = loop.time() + STEADY_S
        while (seen := await self.power()) is Power.OFF and loop.time() < until_s:
            await asyncio.sleep(LOOK_S)
        return seen is Power.OFF

    async def off(self, within_s: float, steady_s: float = STEADY_S) -> Power:
        """See Redfish."""
        loop, since_s = self._machine.world.loop, None
        asked_s = loop.time()
        seen = await self.power()
        virtual.demand_alive()
        if loop.time() - asked_s > FRESH_S:
            return seen
        self._order()
        until_s = loop.time() + within_s
        while loop.time() < until_s:
            seen = await self.power()
            since_s = None if seen is not Power.OFF else loop.time() if since_s is None else since_s
            if since_s is not None and loop.time() - since_s >= steady_s:
                return Power.OFF
            await asyncio.sleep(LOOK_S)
        seen = await self.power()
        return Power.UNKNOWN if seen is Power.OFF else seen

    async def on(self, within_s: float) -> Power:
        """See Redfish."""
        await self.power()
        self._machine.give_power()
        return await self.power()

    def _order(self) -> None:
        """Taken, whatever becomes of whoever gave it."""
        machine, state = self._machine, self._machine.bmc
        world = machine.world
        world.checkers.fenced(machine)
        if state.deaf:
            return
        world.loop.call_later(state.slow_s or OFF_S, self._cut, context=OUTSIDE.context)

    def _cut(self) -> None:
        machine = self._machine
        if machine.powered:
            machine.world.say(machine.name, "FENCED its BMC takes its power away")
            machine.cut_power()
            world = machine.world
            world.loop.call_later(world.bmcs.uniform(*BACK_S), machine.give_power, context=OUTSIDE.context)


class SimPowers(Powers):
    """As the file bmc.toml of every controller would have it: each host that has one is in it, and may be fenced."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    @property
    def watched(self) -> bool:
        """See Powers."""
        return True

    def may_fence(self, host: str) -> bool:
        """See Powers."""
        return self._machine(host).has_bmc

    def of(self, host: str) -> Redfish:
        """See Powers."""
        return SimBmc(self._machine(host), self.bmc(host))

    def bmc(self, host: str) -> Bmc:
        """See Powers."""
        return Bmc(f"https://bmc-{host}", "segue", "")

    def _machine(self, host: str) -> SimHost:
        found = self._world.hosts.get(host)
        if found is None or not found.has_bmc:
            raise _refused(host, "no BMC is known", Kind.NOT_FOUND)
        return found


def _refused(host: str, why: str, kind: Kind) -> Refused:
    return Refused(what=f"the power of {host} is not known", why=why, todo="Look at its BMC.", kind=kind)
