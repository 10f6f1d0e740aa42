"""The target's half of a migration: an empty paused copy, its taps, and the tunnel's end."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from segue.adapters import system
from segue.adapters.net import connections
from segue.adapters.net.steering import tap_name, tunnel_name, tunnel_number
from segue.adapters.qemu.credentials import Endpoint
from segue.adapters.qemu.memory_landing import MemoryLanding
from segue.agent import app_move
from segue.agent.guests import Guests
from segue.agent.keeper import Keeper
from segue.agent.resident_app import AppResident
from segue.agent.resident_machine import MachineResident
from segue.agent.services import Services
from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.model.handoff import Offer, Phase
from segue.model.landing import Landing, Placement
from segue.model.storage import Layer
from segue.policy import compatibility, identity

log = structlog.get_logger()


async def place(
    services: Services, guests: Guests, placement: Placement, sender: str, called_from: str
) -> Landing:
    """Makes the copy, or finds it made; Refused before anything is begun when it does not fit."""
    async with guests.placing:
        keeper = _welcome(services, guests, placement, sender)
        return await _place(services, guests, keeper, placement, called_from)


def _welcome(services: Services, guests: Guests, placement: Placement, sender: str) -> Keeper:
    if placement.source != sender:
        raise _not_yours(placement, sender)
    services.demand_open(f"{placement.guest.name} is not taken in")
    services.protection.demand_agreed(placement)
    keeper = guests.by_uuid(placement.guest.uuid)
    if keeper.in_saga:
        # Its copy here still serves the frames of the migration before; a new one would end it.
        raise _occupied(placement.guest, services.config.name, "it is just leaving here")
    if why := identity.objection(placement.guest, guests.specs()):
        raise _occupied(placement.guest, services.config.name, why)
    if keeper.token.phase is not Phase.INCOMING:
        compatibility.demand(
            placement.guest,
            guests.facts(),
            already=compatibility.Already(guests.names(), _unseen(placement)),
        )
    return keeper


async def place_storage(services: Services, guests: Guests, placement: Placement, sender: str) -> Landing:
    """Makes its disks, or finds them made; Refused before anything is begun when the guest does not fit."""
    async with guests.placing:
        keeper = _welcome(services, guests, placement, sender)
        await _offered(services, guests, keeper, placement)
        address = await services.intake.open(placement)
    return Landing(memory_address="", tunnel_address="", storage_address=address)


async def layers_sent(services: Services, keeper: Keeper, layers: tuple[Layer, ...]) -> None:
    """What lies below its disks is here."""
    await services.intake.complete_layers(keeper.guest_here(), layers)


async def _place(
    services: Services, guests: Guests, keeper: Keeper, placement: Placement, called_from: str
) -> Landing:
    await _offered(services, guests, keeper, placement)
    guest = placement.guest
    address = await _disks(services, placement)
    if isinstance(keeper.resident, AppResident):
        return await _place_app(services, keeper, keeper.resident, placement, called_from)
    assert isinstance(keeper.resident, MachineResident)
    if placement.cold:
        await keeper.resident.make_ready()
        keeper.announce()
        return Landing("", services.config.address)
    landing = await keeper.resident.make_room(placement)
    memory_address = await _listen(services, keeper, landing, placement, called_from)
    await join(services, guest, placement, placement.source)
    keeper.announce()
    without = placement.without_description
    return Landing(memory_address, services.config.address, address, without_description=without)


async def _place_app(
    services: Services, keeper: Keeper, resident: AppResident, placement: Placement, called_from: str
) -> Landing:
    """The same for an application: room for its images and files, and its network, which says nothing yet."""
    services.protection.keep(placement)
    on_demand = placement.shape.post_copy
    address = await app_move.make_room(services, resident, placement.secret, on_demand=on_demand)
    arriving = resident.arriving_app
    assert arriving is not None
    remote = await asyncio.to_thread(_resolve, services.config.peer_address(placement.source))
    with contextlib.suppress(FileNotFoundError):  # The source has connected already.
        services.protection.guard(arriving.landing.pid, address, {remote, called_from})
    for offset in range(len(placement.guest.nics)):
        await arriving.join(tunnel_number(placement.tunnel_id, offset), offset, remote)
    keeper.announce()
    return Landing(address, services.config.address)


async def _disks(services: Services, placement: Placement) -> str:
    """Where its disks are taken in, or lent by the source."""
    if not placement.copies:
        return ""
    if not placement.origin:
        return await services.intake.open(placement)
    services.protection.keep(placement)
    await services.pulling.prepare(placement)
    return placement.origin


async def _offered(services: Services, guests: Guests, keeper: Keeper, placement: Placement) -> None:
    """The journal knows that the guest comes in. Raises Refused where it may not."""
    guest, sender = placement.guest, placement.source
    for _ in range(2):  # The first try may find what is left of an earlier migration, and end it.
        await keeper.tell(Offer(placement.epoch, placement.migration), sender)
        if keeper.token.migration == placement.migration:
            break
        await keeper.tick()
        await keeper.forget()  # If it is over.
    token = keeper.token
    if token.phase is not Phase.INCOMING or token.migration != placement.migration:
        raise _occupied(guest, services.config.name, f"it is {token.phase} here at epoch {token.epoch}")
    guests.adopt(keeper, guest)


async def _listen(
    services: Services, keeper: Keeper, landing: MemoryLanding, placement: Placement, called_from: str
) -> str:
    """Where the memory goes: with this migration's key only, and from the source's addresses only."""
    protection, machine = services.protection, keeper.resident.machine
    assert machine is not None
    protection.keep(placement)
    creds = await protection.offer(machine.monitor, placement.guest, placement.migration, Endpoint.SERVER)
    address = await landing.open(
        services.config.inlet,
        placement.shape,
        creds,
        bitmaps=bool(placement.copies) and not placement.origin,
    )
    connections.answer_at_once(machine.pid, int(address.rpartition(":")[2]))
    known = await asyncio.to_thread(_resolve, services.config.peer_address(placement.source))
    try:
        protection.guard(machine.pid, address, {known, called_from})
    except FileNotFoundError:
        log.info("the source has connected already", guest=placement.guest.name)
    return address


async def join(services: Services, guest: Guest, placement: Placement, source: str) -> None:
    """The tunnel's end: what comes out of it waits in the paused guest's tap."""
    remote = await asyncio.to_thread(_resolve, services.config.peer_address(source))
    for offset, nic in enumerate(guest.nics):
        number = tunnel_number(placement.tunnel_id, offset)
        tap, tunnel = tap_name(guest.name, nic), tunnel_name(nic)
        if await services.links.index(tunnel) is None:
            await services.steering.prepare_target(tap, tunnel, number, services.config.address, remote)


async def take_in_flows(
    services: Services, keeper: Keeper, migration: str, sender: str, entries: list[bytes]
) -> None:
    """Connections of a guest that waits here, from the host that it comes from; from nobody else."""
    if _waits(keeper, migration, sender) and keeper.guest is not None:
        await services.flows.take_in(keeper.guest, entries)


def go_first(keeper: Keeper, migration: str, sender: str) -> None:
    """What waits here for a guest that is handed over soon waits for no processor, until it runs."""
    if _waits(keeper, migration, sender) and keeper.machine is not None:
        keeper.machine.hasten()


def _waits(keeper: Keeper, migration: str, sender: str) -> bool:
    token = keeper.token
    return token.phase is Phase.INCOMING and token.migration == migration and token.peer == sender


async def settled(services: Services, keeper: Keeper, migration: str) -> None:
    """The source forwards nothing more: the tunnel goes, and the place is announced once more.

    The announcement at the resume may have met a cut link; nobody would learn of it until the guest speaks.
    """
    if keeper.guest is None:
        return
    is_latest = keeper.token.migration == migration
    if is_latest:
        keeper.resident.arriving = None
        await keeper.resident.source_left()
        await services.protection.withdraw(keeper.guest, keeper.resident.machine)
        await keeper.make_known()
    # A move from here that was begun and given up meanwhile has left the tunnel of this one as it was.
    began_here = services.journal.migration(keeper.token.migration) is not None
    if is_latest or (began_here and keeper.token.phase is Phase.OWNER and not keeper.in_saga):
        for nic in keeper.guest.nics:
            await services.links.remove(tunnel_name(nic))


def _unseen(placement: Placement) -> tuple[str, ...]:
    brought = {copy.disk.path for copy in placement.copies}
    return tuple(path for path in missing_files(placement.guest) if path not in brought)


def missing_files(guest: Guest) -> tuple[str, ...]:
    """Files that the guest needs and that this host does not see."""
    paths = [guest.kernel, guest.initrd, *(disk.path for disk in guest.disks)]
    return tuple(path for path in paths if path and not system.readable(path))


def _resolve(host: str) -> str:
    import socket

    return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])


def _not_yours(placement: Placement, sender: str) -> Refused:
    return Refused(
        what=f"{placement.guest.name} is not taken in",
        why=f"{sender} speaks for {placement.source}",
        todo="A host may only offer its own guests; look at its configuration.",
        kind=Kind.AUTH,
    )


def _occupied(guest: Guest, here: str, why: str) -> Refused:
    return Refused(
        what=f"{here} does not take {guest.name}",
        why=why,
        todo=f"Look with `segue vm show {guest.name}`; what is left of an earlier migration goes by itself.",
        kind=Kind.CONFLICT,
    )
