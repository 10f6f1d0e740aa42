"""The real parts of an agent on one simulated host, for tests that need nothing but its guests and its journal."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from segue.sim import agent as programs
from segue.sim.agent import SimServices
from segue.sim.checkers import Checkers
from segue.sim.fabric import Fabric
from segue.sim.host import SimHost
from segue.sim.world import World


def play(work: Callable[[SimHost, SimServices], Awaitable[None]]) -> None:
    world = World("burial")
    world.fabric, world.checkers = Fabric(world), Checkers(world)
    host = world.hosts["h1"] = world.fabric.nodes["h1"] = SimHost(world, "h1", "10.0.0.1")

    async def main() -> None:
        await work(host, programs._services(host))

    world.loop.run(_alive(host, main))


async def _alive(host: SimHost, main: Callable[[], Awaitable[None]]) -> None:
    host.process = host.world.process("h1", host.clock)
    await host.process.start(host.world.loop, main())  # type: ignore[arg-type]
