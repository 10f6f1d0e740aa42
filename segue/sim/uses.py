"""What a simulated host and its guests use of its processors: told as the real measurement tells it, and never steady.

It knows what guests do, not who looks at it.
"""

from __future__ import annotations

from typing import Final

from segue.agent.loads import Loads
from segue.model.load import GuestLoad, HostLoad, Smoothed, Use
from segue.sim.host import SimHost
from segue.sim.world import Load

MEASURED_S: Final = 900.0
LOW: Final = 0.1
"""What a guest uses at its low tide, as a share of its high one."""


class SimLoads(Loads):
    """In a rehearsal in which no guest computes nothing is told: the balancer plans nothing by it."""

    def __init__(self, host: SimHost) -> None:
        self._machine = host

    def report(self) -> HostLoad | None:
        """See Loads."""
        host = self._machine
        if not any(load.cpu_cores for load in host.world.loads.values()):
            return None
        running = [qemu.guest for qemu in host.qemus.values() if qemu.running]
        guests = tuple(
            GuestLoad(guest.uuid, guest.name, self._use(host.world.loads[guest.name]), guest.memory_bytes)
            for guest in running
        )
        now, before = (
            Use(min(float(host.cpus), sum(each.cpu_cores for each in uses)))
            for uses in ([one.use.now for one in guests], [one.use.before for one in guests])
        )
        use = Smoothed(now, before, MEASURED_S)
        left = host.memory_bytes - sum(guest.memory_bytes for guest in running)
        return HostLoad(
            host.name, host.cpus, use, host.memory_bytes, left, link_bytes_per_s=int(host.link_bytes_per_s),
            guests=guests,
        )  # fmt: skip

    def _use(self, load: Load) -> Smoothed:
        """Over the last minute as it is, over the last ten as it is on average."""
        if not load.tide_s:
            return Smoothed(Use(load.cpu_cores), Use(load.cpu_cores), MEASURED_S)
        is_high = int(self._machine.world.loop.time() / load.tide_s) % 2 == 0
        mean = load.cpu_cores * (1 + LOW) / 2
        return Smoothed(Use(load.cpu_cores * (1.0 if is_high else LOW)), Use(mean), MEASURED_S)
