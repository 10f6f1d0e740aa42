"""The second QEMU of a guest that changes its QEMU in place: started, put in the first one's place, or ended.

Which of the two may run is not decided here: the keeper's token says it.
"""

from __future__ import annotations

import asyncio
import os

import structlog

from segue.adapters.net.tap import feed_sacrifice
from segue.adapters.process import end_process, listener_pid
from segue.adapters.qemu import in_place
from segue.adapters.qemu.machine import Machine, attach
from segue.adapters.qemu.monitor import QemuDeaf, QemuGone, QemuRefused
from segue.agent import plant
from segue.agent.services import Services
from segue.model.guest import Guest

log = structlog.get_logger()


async def start(services: Services, old: Machine, migration: str) -> Machine:
    """Paused, on taps of its own, with the memory of the old one, whose guest runs on. Nothing is left of a failure."""
    guest = old.guest
    await end(services, guest, None)
    taps, fds = plant.taps(guest, in_place.MARK), list[int]()
    try:
        await in_place.cancel(old)
        await plant.plug(services, guest, taps, fds, silent=True)
        made = await in_place.launch(old, migration, fds, services.config.qemu_user)
        for tap in taps:
            await asyncio.to_thread(feed_sacrifice, tap)
        return made
    except BaseException:
        await end(services, guest, None)
        await remove_taps(services, guest)
        raise
    finally:
        for fd in fds:
            os.close(fd)


async def find(services: Services, guest: Guest, migration: str) -> Machine | None:
    """The second QEMU, after a start of the agent. Raises QemuDeaf for one that does not answer."""
    try:
        found = await attach(guest, in_place.beside(plant.places(services, guest), migration))
        await services.metadata.lead(ways(guest), back=True)
        return found
    except QemuDeaf:
        raise
    except QemuGone:
        return None


def ways(guest: Guest) -> dict[str, str]:
    """Tap of the first QEMU -> tap of the second, card by card."""
    return dict(zip(plant.taps(guest), plant.taps(guest, in_place.MARK), strict=True))


async def end(services: Services, guest: Guest, machine: Machine | None) -> None:
    """The second QEMU is no more. Its taps stay: frames may wait there that go back. Safe to repeat."""
    if machine is not None:
        await machine.end()
    await in_place.end_strays(plant.places(services, guest))


async def remove_taps(services: Services, guest: Guest) -> None:
    """Of the second QEMU. Safe to repeat."""
    for tap in plant.taps(guest, in_place.MARK):
        await services.links.remove(tap)


async def let_go(old: Machine) -> None:
    """The old one waits for no second one any more. One that has ended is no error."""
    try:
        await in_place.cancel(old)
    except (QemuGone, QemuRefused, TimeoutError) as error:
        log.info("the old QEMU did not take its transfer back", guest=old.guest.name, error=str(error))


async def settle(services: Services, old: Machine | None, new: Machine) -> None:
    """The second QEMU is the only one, under the names of the first. Safe to repeat, after half of it too."""
    guest = new.guest
    if old is not None:
        await old.end()
    elif new.places.mark and (pid := listener_pid(plant.places(services, guest).monitor)) is not None:
        await end_process(pid)
    if not new.places.mark:
        return
    services.failpoints.hit("first ended")
    # Safe to repeat: a tap that has its new name already is left alone.
    for nic, (tap, other) in zip(guest.nics, ways(guest).items(), strict=True):
        if await services.links.index(other) is not None:
            await services.links.remove(tap)
            await services.links.rename(other, tap)
        await services.links.unpin(tap, nic.mac)
    services.failpoints.hit("taps renamed")
    in_place.take_place(new)
