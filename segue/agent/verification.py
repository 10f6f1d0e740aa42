"""Digests of a standing guest's memory, for the source's comparison and the target's answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from segue.adapters import integrity
from segue.adapters.criu.landing import Landing
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuGone
from segue.adapters.storage import content
from segue.agent.keeper import Keeper
from segue.agent.resident_app import AppResident
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.model.handoff import Phase
from segue.model.integrity import Blocks, Digests, Verify
from segue.model.migration import Limits
from segue.model.storage import DiskFile
from segue.policy import integrity as judgement

WAIT_S = 60.0
"""A source that died in the blackout is not waited for any longer."""


async def choose(machine: Machine, pages: int) -> tuple[int, ...]:
    """Random pages of the running guest that hold something."""

    def work() -> tuple[int, ...]:
        with integrity.guest_memory(machine.pid, machine.guest.memory_bytes) as fd:
            return integrity.sample(fd, pages)

    return await asyncio.to_thread(work)


async def demand_time(guest: str, limits: Limits, held_bytes: int) -> None:
    """Raises Refused where to compare all its memory and disks breaks the blackout budget; nothing was begun yet."""
    if limits.verify is not Verify.FULL:
        return
    speed = await asyncio.to_thread(integrity.speed_bytes_per_s)
    needed_s = judgement.full_s(held_bytes, speed)
    if not judgement.full_fits(needed_s, limits.blackout_s):
        raise Refused(
            what=f"{guest} cannot be compared within the blackout budget",
            why=f"to read {held_bytes >> 20} MiB takes {needed_s:.2f} s of a budget of {limits.blackout_s:g} s",
            todo="Allow a longer pause with --max-blackout, or compare a part of it: --verify sample.",
        )


async def digest(machine: Machine, blocks: Blocks) -> Digests:
    """What these blocks hold now."""

    with integrity.guest_memory(machine.pid, machine.guest.memory_bytes) as fd:
        return await _read(fd, blocks)


async def _read(fd: int, blocks: Blocks) -> Digests:
    """A sample takes less than to wake another thread does."""
    if blocks.offsets:
        return integrity.digest(fd, blocks)
    return await asyncio.to_thread(integrity.digest, fd, blocks)


async def answer(services: Services, keeper: Keeper, blocks: Blocks, sender: str) -> Digests:
    """The target's side: only for the migration that comes in, and only when its copy is complete."""
    token, resident = keeper.token, keeper.resident
    expected = (Phase.INCOMING, sender, blocks.migration)
    if (token.phase, token.peer, token.migration) != expected:
        raise _not_comparable(services.config.name, f"the guest is {token.phase} there")
    if isinstance(resident, AppResident) and resident.arriving_app is not None:
        return await _of_app(services, resident.arriving_app.landing, blocks)
    if not (resident.landing and resident.machine):
        raise _not_comparable(services.config.name, "nothing of it has come there")
    machine, landing = resident.machine, resident.landing
    with integrity.guest_memory(machine.pid, machine.guest.memory_bytes) as fd:
        try:
            complete = await landing.complete(within_s=min(blocks.within_s, WAIT_S))
        except QemuGone as error:
            raise _not_comparable(services.config.name, "its QEMU there has ended") from error
        if not complete:
            raise _not_comparable(services.config.name, "its copy there is not complete")
        services.failpoints.hit("before digest")
        return await _read(fd, blocks)


async def _of_app(services: Services, landing: Landing, blocks: Blocks) -> Digests:
    if not await landing.complete(within_s=min(blocks.within_s, WAIT_S)):
        raise _not_comparable(services.config.name, "its copy there is not complete")
    services.failpoints.hit("before digest")
    try:
        return await landing.digest(blocks)
    except (OSError, ValueError) as error:
        raise _not_comparable(services.config.name, f"its memory cannot be read: {error}") from error


async def digest_disks(disks: Iterable[DiskFile]) -> dict[str, Digests]:
    """What is in each of these; nobody writes to them."""
    return {disk.id: await content.digest(disk.path, disk.format, disk.size_bytes) for disk in disks}


def _not_comparable(host: str, why: str) -> Refused:
    return Refused(
        what=f"{host} does not compare the guest's memory",
        why=why,
        todo="Try again; if it stays so, look at the target's agent and its QEMU.",
        kind=Kind.CONFLICT,
    )
