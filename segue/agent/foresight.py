"""Measures what a forecast needs, all at once: guest, path and clocks; and asks the journal what it taught."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from segue.adapters import system
from segue.adapters.peer import PeerClient
from segue.adapters.qemu import dirty_rate
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuGone
from segue.agent import verification
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.model.foresight import Figures
from segue.model.migration import Forecast, Limits
from segue.model.storage import DiskCopy
from segue.policy import forecast, lessons

CALM_BYTES_PER_S: Final = 20e6
CALM_SHARE: Final = 0.1
"""Of the path's speed: what such a guest writes shrinks by nine tenths with each round, whichever pages they are."""


async def measure(
    services: Services, keeper: Keeper, peer: PeerClient, limits: Limits, copies: tuple[DiskCopy, ...]
) -> Forecast:
    """The forecast for this guest to that host, within about 0.4 s for a calm guest and 0.7 s for another."""
    machine = keeper.machine
    assert machine is not None
    resident = system.resident_memory_bytes(machine.pid)
    held = 0 if limits.storage_postcopy else sum(copy.disk.held_bytes for copy in copies)
    await verification.demand_time(machine.guest.name, limits, resident + held)
    address = services.config.peer_address(peer.name)
    speed = asyncio.create_task(peer.speed_bytes_per_s(address))
    writes, path, clock = await asyncio.gather(_writes(machine, speed), speed, peer.clock())
    figures = Figures(
        resident_bytes=resident,
        path_bytes_per_s=path,
        writes=writes,
        round_trip_s=2 * clock[1],
        disk_bytes=_brought_bytes(copies),
        mirrored=bool(copies) and not limits.storage_postcopy,
    )
    earlier, name = services.journal.migrations(), keeper.guest_here().name
    learnt = lessons.learn(earlier, name, before_memory=limits.goes_first)
    share = services.share.foreseen(limits.bandwidth_bytes_per_s)
    return forecast.forecast(figures, learnt, replace(limits, bandwidth_bytes_per_s=share))


def _brought_bytes(copies: tuple[DiskCopy, ...]) -> int:
    layers = {layer.path: layer.file_bytes for copy in copies for layer in copy.missing}
    return sum(copy.disk.held_bytes for copy in copies) + sum(layers.values())


async def _writes(machine: Machine, speed: asyncio.Task[float]) -> tuple[tuple[float, float], ...]:
    """How fast it writes; of a guest that the path takes easily the short span says enough."""
    short_s, long_s = dirty_rate.SHORT_S, dirty_rate.LONG_S
    rate = await _rate(machine, short_s)
    if rate < CALM_BYTES_PER_S and rate < CALM_SHARE * await speed:
        return ((short_s, rate),)
    return (short_s, rate), (long_s, await _rate(machine, long_s))


async def _rate(machine: Machine, span_s: float) -> float:
    """Raises Refused for one that ends, or hangs, while it is looked at."""
    try:
        return await dirty_rate.sample(machine.monitor, span_s)
    except (QemuGone, TimeoutError) as error:
        name = machine.guest.name
        gone = isinstance(error, QemuGone)
        raise Refused(
            what=f"{name} is not moved",
            why="it ended while it was looked at" if gone else f"its QEMU does not answer: {error}",
            todo=f"`segue incident list --guest {name}` says what is done about it; try again once it runs.",
            kind=Kind.CONFLICT if gone else Kind.TIMEOUT,
        ) from error


def demand(guest: str, to: str, foreseen: Forecast, limits: Limits) -> None:
    """Raises Refused where the forecast leaves no hope: an attempt would cost the guest and the path for nothing."""
    if why := forecast.hopeless(foreseen, limits):
        raise Refused(
            what=f"{guest} is not moved to {to}",
            why=why,
            todo="Allow more (--max-blackout, --deadline, --max-slowdown, --over-budget accept), "
            "or try it all the same with --force.",
            kind=Kind.POLICY,
        )
