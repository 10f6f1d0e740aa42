"""The target's answers in a post-copy: how much of a guest is here, where to send the rest, and that it will not come.

A QEMU that waits for a page may answer nobody. Nothing here waits for it longer than a moment.
"""

from __future__ import annotations

import structlog

from segue.adapters.process import listener_pid
from segue.adapters.qemu import postcopy_landing
from segue.adapters.qemu.monitor import QemuGone, QemuRefused
from segue.agent import plant
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.model.arrival import Flow, Presence
from segue.model.handoff import Phase

log = structlog.get_logger()

LOAD_S_MAX = 30.0
SETTLE_S = 2.0
"""What is already in the socket when the source's QEMU dies may be the last page that was missing."""


async def arrival(keeper: Keeper, migration: str, loaded_within_s: float) -> Presence:
    """How much of it is here. GONE for a guest of which nothing is left."""
    keeper.heard()
    resident = keeper.resident
    if resident.deaf:
        return Presence(Flow.BROKEN, loaded=True)
    here = resident.machine is not None and resident.machine.alive()
    if keeper.token.migration != migration or not here:
        return Presence(Flow.GONE)
    if resident.arriving is None:
        return Presence(Flow.WHOLE, loaded=True)
    if loaded_within_s > 0:
        await resident.arriving.wait_loaded(within_s=min(loaded_within_s, LOAD_S_MAX))
    return await resident.arriving.arrival()


async def reopen(services: Services, keeper: Keeper, migration: str, called_from: str) -> str:
    """Listens for another connection from the source; host:port."""
    _demand_arriving(keeper, migration)
    keeper.heard()
    resident, guest = keeper.resident, keeper.guest_here()
    places = plant.places(services, guest)
    try:
        if resident.arriving is not None:
            address = await resident.arriving.listen_again(services.config.inlet)
        else:
            address = postcopy_landing.listen_unheard(places, services.config.inlet)
    except (QemuRefused, QemuGone, OSError) as error:
        raise _cannot(guest.name, services.config.name, str(error)) from error
    pid = resident.machine.pid if resident.machine is not None else listener_pid(places.monitor)
    if pid is not None:
        _guard(services, pid, address, called_from)
    return address


def _guard(services: Services, pid: int, address: str, called_from: str) -> None:
    try:
        services.protection.guard(pid, address, {called_from} - {""})
    except FileNotFoundError:
        log.info("nothing listens there yet, or the source has connected already", address=address)


async def memory_lost(keeper: Keeper, migration: str, sender: str) -> Presence:
    """The source's QEMU has ended. Unless everything had arrived, this guest never gets what it lacks: it ends."""
    keeper.heard()
    if keeper.token.migration != migration:
        return Presence(Flow.GONE)
    arriving, machine = keeper.resident.arriving, keeper.resident.machine
    if arriving is not None and machine is not None:
        try:
            await machine.monitor.until(lambda: arriving.flow is not Flow.FLOWING, within_s=SETTLE_S)
        except (TimeoutError, QemuGone):
            log.info("the copy did not end by itself", guest=keeper.uuid)
    if await keeper.memory_is_lost(
        f"it is lost: it ran while its memory was still on {sender}, and the QEMU that held it there has ended; "
        "`segue vm start` starts it from its disk, without all that was only in memory"
    ):
        return Presence(Flow.GONE)
    return await arrival(keeper, migration, 0.0)


def _demand_arriving(keeper: Keeper, migration: str) -> None:
    """For a guest of this migration that is here and not whole."""
    resident, token = keeper.resident, keeper.token
    mine = token.migration == migration and token.phase in {Phase.OWNER, Phase.INCOMING}
    if not mine or not (resident.deaf or resident.lacks_memory):
        raise _cannot(keeper.uuid, "this host", "no memory of it is awaited here")


def _cannot(name: str, host: str, why: str) -> Refused:
    return Refused(
        what=f"{host} does not wait for more of {name}'s memory",
        why=why,
        todo=f"Look with `segue vm show {name}`; a copy that is broken off goes on by itself.",
        kind=Kind.CONFLICT,
    )
