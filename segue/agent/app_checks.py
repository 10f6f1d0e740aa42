"""Whether an application can move, and how long it would stand: what its processes hold, and what both hosts can do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from segue.adapters import system
from segue.adapters.criu import look
from segue.adapters.peer import PeerClient
from segue.agent import verification
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.model.belongings import Engine
from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.migration import Forecast, Limits
from segue.policy import budgets, mobility

LOOKS = 3
LOOK_S = 0.05
"""What its processes hold is looked at so often more, after so long each, where something of it cannot move."""


async def obstacles(services: Services, guest: Guest, theirs: HostFacts, limits: Limits) -> tuple[str, ...]:
    """Every reason against it that can be seen while it runs."""
    here = services.apps.engine
    there = theirs.app_engine or Engine("", "its agent does not say that it can")
    return (
        *mobility.between(here, there),
        *await _that_stay(services.apps.places(guest).cgroup),
        *_not_ours(services, guest),
        *_not_there(services, guest, theirs),
        *_unfit(limits, there),
    )


async def _that_stay(cgroup: Path) -> tuple[str, ...]:
    """What it holds that cannot move. A call between two of its processes that is not answered yet is none: whatever
    is gone a moment later does not count."""
    found = mobility.obstacles(look.belongings(cgroup))
    for _ in range(LOOKS):
        if not found:
            break
        await asyncio.sleep(LOOK_S)
        again = mobility.obstacles(look.belongings(cgroup))
        found = tuple(one for one in found if one in again)
    return found


def _not_ours(services: Services, guest: Guest) -> Iterator[str]:
    if look.reads_as(services.apps.places(guest).cgroup) is None:
        yield "its processes are of several users, and this agent may not read their limits (it lacks CAP_SYS_RESOURCE)"


def _not_there(services: Services, guest: Guest, theirs: HostFacts) -> Iterator[str]:
    assert guest.app is not None
    if guest.app.image not in theirs.app_images:
        yield (
            f"{theirs.name} does not have its image {guest.app.reference}: take it in there "
            f"(`segue app pull {guest.app.reference} --host {theirs.name}`, or from a file `segue app load`)"
        )
    shared = services.config.shared_dir
    for volume in guest.app.volumes:
        if volume.source and not Path(volume.source).is_relative_to(shared):
            yield f"its volume {volume.path} is a folder of this host ({volume.source}), and not below {shared}"


def _unfit(limits: Limits, there: Engine) -> Iterator[str]:
    if limits.on_demand and not there.on_demand:
        yield (
            "the target cannot put its memory in place once it runs (its kernel has no userfaultfd, or its agent is "
            "older): leave post-copy out"
        )


async def measure(
    services: Services, keeper: Keeper, peer: PeerClient, limits: Limits, there: Engine
) -> Forecast:
    """The forecast for this application to that host. Raises Refused where what is wished takes too long."""
    group = services.apps.places(keeper.guest_here()).cgroup / "cgroup.procs"
    memory = sum(system.process_memory_bytes(int(pid)) for pid in group.read_text().split())
    await verification.demand_time(keeper.guest_here().name, limits, memory)
    speed = await peer.speed_bytes_per_s(services.config.peer_address(peer.name))
    way = mobility.memory_way(there)
    return budgets.forecast(
        memory, speed, way, goes_before=there.by_place, on_demand=limits.on_demand and there.on_demand
    )
