"""The engine's ports on a simulated host, where the real ones would be QEMU, the kernel's network and disks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from segue.adapters.net.steering import tunnel_name
from segue.adapters.qemu.monitor import QemuGone
from segue.agent.keeper import Keeper
from segue.errors import Aborted
from segue.model.arrival import Flow, Serving
from segue.model.integrity import Blocks, Digests
from segue.model.ladder import Shape
from segue.model.landing import Landing, Region
from segue.model.migration import Limits, Progress
from segue.model.storage import DiskProgress
from segue.sim import loop as virtual
from segue.sim.copying import Copying
from segue.sim.qemu import Qemu, SimMachine

if TYPE_CHECKING:
    from segue.sim.host import SimHost

LOOK_S = 0.03
DEVICES_S = 0.004
"""To send and load the devices' state (our lab: 4 to 6 ms with stop and start)."""


class SimGuestHere:
    """Engine port `GuestHere`."""

    def __init__(self, host: SimHost, keeper: Keeper) -> None:
        self._host, self._keeper = host, keeper

    def alive(self) -> bool:
        """See engine/ports.py."""
        machine = self._keeper.machine
        return machine is not None and machine.alive()

    def _qemu(self) -> Qemu:
        virtual.demand_alive()
        machine = self._keeper.machine
        if not isinstance(machine, SimMachine) or not machine.alive():
            raise Aborted(
                what="the guest cannot be moved any more",
                why="it ended on the source while it was being copied",
                todo="Start it again.",
            )
        return machine.qemu

    def _copy(self) -> Copying:
        copy = self._qemu().outgoing
        if copy is None or copy.broken:
            raise _broke(copy.broken if copy else "the copy has ended")
        copy.catch_up(self._now_s())
        return copy

    def _now_s(self) -> float:
        return self._host.world.loop.time()

    async def secret(self, migration: str) -> str:
        """See engine/ports.py."""
        return ""

    async def regions(self) -> tuple[Region, ...]:
        """See engine/ports.py."""
        return ()

    async def begin_copy(self, landing: Landing, limits: Limits, shape: Shape, *, gated: bool) -> None:
        """See engine/ports.py."""
        qemu = self._qemu()
        if qemu.outgoing is not None and not qemu.outgoing.broken:
            return
        name, _, number = landing.memory_address.rpartition(":")
        target = self._host.world.hosts[name].by_number(int(number))
        if target is None or not self._host.world.fabric.joins(self._host.name, name):
            raise _broke("nobody listens at the target")
        if target.failed or target.complete:
            raise _broke("the target's QEMU takes no second copy")
        qemu.outgoing = Copying(qemu, target, self._host.world.loads[qemu.guest.name], self._now_s())

    async def throttle(self, slowdown: float) -> None:
        """See engine/ports.py."""
        self._copy().slowdown = slowdown

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """See engine/ports.py."""
        while True:
            await asyncio.sleep(max(0.01, min(within_s, self._copy().round_ends_in_s())))
            yield self._copy().sample(self._now_s())

    async def ease(self) -> None:
        """See engine/ports.py."""

    async def go_first(self) -> None:
        """See engine/ports.py."""

    def give_way(self) -> None:
        """See engine/ports.py."""

    async def look(self) -> float:
        """See engine/ports.py."""
        self._copy()
        return LOOK_S

    async def sent(self, within_s: float) -> None:
        """See engine/ports.py."""
        async with asyncio.timeout(within_s):
            while (speed := self._copy().bytes_per_s()) <= 0:
                await asyncio.sleep(0.1)
            await asyncio.sleep(min(self._copy().remaining / speed, within_s))

    async def stop(self) -> float:
        """See engine/ports.py."""
        qemu = self._qemu()
        self._copy()
        assert isinstance(self._keeper.machine, SimMachine)
        await self._keeper.machine.stop()
        return qemu.stopped_at_s

    def marks(self) -> tuple[tuple[str, float], ...]:
        """See engine/ports.py."""
        return ()

    async def at_gate(self, within_s: float) -> None:
        """See engine/ports.py."""

    async def pass_gate(self) -> None:
        """See engine/ports.py."""

    async def completed(self, within_s: float) -> bool:
        """See engine/ports.py. The target may have all of it although nobody here hears so any more."""
        async with asyncio.timeout(within_s):
            while (copy := self._copy()).rest_bytes() > 0.5 or not copy.bytes_per_s():
                speed = copy.bytes_per_s()
                await asyncio.sleep(copy.rest_bytes() / speed if speed else 0.02)
            await asyncio.sleep(DEVICES_S)
            copy = self._copy()
            copy.target.loads(copy.source.content)
            copy.hang_up()
            await asyncio.sleep(self._host.world.fabric.delay_s())
            while not self._host.world.fabric.joins(copy.target.host.name, self._host.name):
                await asyncio.sleep(0.02)
        return True

    async def arm_post_copy(self) -> None:
        """See engine/ports.py."""
        raise _broke("post-copy is not simulated; leave it out of the ladder")

    async def serve_all(self, bytes_per_s: int, address: str) -> None:
        """See engine/ports.py."""

    async def serving(self) -> Serving:
        """See engine/ports.py."""
        return Serving(Flow.WHOLE)

    async def let_go(self) -> None:
        """See engine/ports.py."""

    async def reconnect(self, address: str) -> bool:
        """See engine/ports.py."""
        return False

    async def cancel_copy(self) -> None:
        """See engine/ports.py."""
        virtual.demand_alive()
        machine = self._keeper.machine
        if isinstance(machine, SimMachine) and machine.qemu.outgoing is not None:
            machine.qemu.outgoing.hang_up()

    async def extent(self, block_bytes: int) -> tuple[int, ...]:
        """See engine/ports.py: one piece."""
        return ()

    async def sample(self, pages: int) -> tuple[int, ...]:
        """See engine/ports.py."""
        self._qemu()
        return (0,)

    async def digest(self, blocks: Blocks) -> Digests:
        """See engine/ports.py."""
        return Digests((str(self._qemu().content),) * max(1, len(blocks.offsets)))


async def digest_there(keeper: Keeper, blocks: Blocks) -> Digests:
    """What agent/verification.py reads out of the memory of a real process. Raises Aborted, TimeoutError."""
    machine, landing = keeper.machine, keeper.resident.landing
    if not isinstance(machine, SimMachine) or landing is None or keeper.token.migration != blocks.migration:
        raise _broke("its copy there is gone")
    try:
        if not await landing.complete(within_s=blocks.within_s):
            raise _broke("its copy there is not complete")
    except QemuGone as error:
        raise _broke("its QEMU there has ended") from error
    return Digests((str(machine.qemu.content),) * max(1, len(blocks.offsets)))


class SimNetwork:
    """Engine port `Network`: frames are not simulated, what is left of tunnels and hooks is."""

    def __init__(self, host: SimHost, keeper: Keeper) -> None:
        self._host = host
        guest = keeper.guest_here()
        self._tunnels = [tunnel_name(nic) for nic in guest.nics]
        self._hook = f"steered {guest.name}"

    async def prepare(self, landing: Landing, tunnel_id: int) -> None:
        """See engine/ports.py."""
        self._host.keep_devices(*self._tunnels)

    async def tell(self) -> None:
        """See engine/ports.py."""

    def steer(self) -> None:
        """See engine/ports.py."""
        self._host.keep_devices(self._hook)

    async def drain(self) -> None:
        """See engine/ports.py."""

    def rescue(self) -> int:
        """See engine/ports.py."""
        return 0

    async def mute(self) -> None:
        """See engine/ports.py."""

    async def let_learn(self) -> None:
        """See engine/ports.py."""

    def steered_frames(self) -> int:
        """See engine/ports.py."""
        return 0

    async def clear(self) -> None:
        """See engine/ports.py."""
        self._host.drop_devices(*self._tunnels, self._hook)


class SimDisks:
    """Engine port `Disks`, for guests whose disks are on shared storage: none is copied."""

    async def offer(self) -> str:
        """See engine/ports.py."""
        raise _broke("local disks are not simulated")

    async def lend(self, address: str) -> None:
        """See engine/ports.py."""

    async def send_layers(self, address: str) -> None:
        """See engine/ports.py."""

    async def begin(self, address: str, bytes_per_s: int) -> None:
        """See engine/ports.py."""
        raise _broke("local disks are not simulated")

    async def progress(self) -> tuple[DiskProgress, bool]:
        """See engine/ports.py."""
        return DiskProgress(), True

    async def tie(self, within_s: float, waits_s: float) -> None:
        """See engine/ports.py."""

    async def cut(self) -> None:
        """See engine/ports.py."""

    async def digest(self) -> dict[str, Digests]:
        """See engine/ports.py."""
        return {}

    async def hang_up(self) -> None:
        """See engine/ports.py."""

    async def stop(self) -> None:
        """See engine/ports.py."""

    def keep(self) -> None:
        """See engine/ports.py."""


def _broke(why: str) -> Aborted:
    return Aborted(
        what="the memory was not copied",
        why=why,
        todo="Look at the link between the hosts and at the target.",
    )
