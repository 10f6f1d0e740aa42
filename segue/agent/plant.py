"""Puts a guest's QEMU and taps on this host, and takes them away again."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from segue.adapters.net.steering import tap_name, tunnel_name
from segue.adapters.net.tap import open_tap
from segue.adapters.peer import PeerClient
from segue.adapters.process import end_process, listener_pid
from segue.adapters.qemu import identity, revival
from segue.adapters.qemu.command import Lent, Places
from segue.adapters.qemu.credentials import Endpoint
from segue.adapters.qemu.identity import Identity
from segue.adapters.qemu.machine import Machine, attach, launch
from segue.adapters.qemu.monitor import QemuDeaf, QemuGone
from segue.agent.networks import overlay_cards
from segue.agent.services import Services
from segue.errors import SegueError
from segue.model.guest import Guest

log = structlog.get_logger()


def owner(services: Services, guest: Guest) -> Identity:
    """As whom everything runs that touches this guest's memory or disks."""
    return identity.of(guest, services.config.qemu_user)


def places(services: Services, guest: Guest) -> Places:
    """The files of this guest's QEMU."""
    return Places(Path(services.config.run_dir) / "guests" / guest.name)


async def find(services: Services, guest: Guest) -> Machine | None:
    """The guest's QEMU if it runs on this host. Raises QemuDeaf for one that does not answer."""
    await revival.recover(places(services, guest))
    try:
        found = await attach(guest, places(services, guest))
    except QemuDeaf:
        raise
    except QemuGone:
        return None
    await services.metadata.attach(guest)
    return found


async def start(services: Services, guest: Guest, *, incoming: bool) -> Machine:
    """A paused QEMU on its taps; nothing is left behind when it does not come up."""
    fds: list[int] = []
    try:
        await plug(services, guest, taps(guest), fds, silent=incoming)
        await services.metadata.attach(guest)
        user = services.config.qemu_user
        lent = _lent(services, guest)
        return await launch(guest, places(services, guest), fds, user, incoming=incoming, lent=lent)
    except BaseException:
        await clear_network(services, guest)
        raise
    finally:
        for fd in fds:
            os.close(fd)


def taps(guest: Guest, mark: str = "") -> list[str]:
    """The names of the guest's taps, card by card; of a second QEMU beside the guest's own where `mark` says so."""
    return [tap_name(guest.name, nic) + ("n" if mark else "") for nic in guest.nics]


async def plug(
    services: Services, guest: Guest, names: Sequence[str], fds: list[int], *, silent: bool
) -> None:
    """Makes the taps and puts them where the cards belong. fds: their descriptors, also after half of the work."""
    for nic, tap in zip(guest.nics, names, strict=True):
        fds.append(open_tap(tap))
        await services.steering.hook(tap)
        await services.links.plug(tap, services.networks.bridge_of(nic), nic, silent=silent)


def _lent(services: Services, guest: Guest) -> Lent:
    origins = services.pulling.origins(guest.uuid)
    if not origins:
        return Lent()
    creds = services.protection.credentials(guest, origins[0].migration)
    key = creds.properties(Endpoint.CLIENT) if creds is not None else None
    return Lent({origin.disk: origin.address for origin in origins}, key)


async def remove(services: Services, guest: Guest, machine: Machine | None) -> None:
    """Ends QEMU and removes taps, tunnels and sockets; the console's log stays. Safe to repeat."""
    if machine is not None:
        await machine.end()
    elif (pid := listener_pid(places(services, guest).monitor)) is not None:
        await end_process(pid)  # One that did not answer.
    services.protection.forget(guest)
    await clear_network(services, guest)
    for path in places(services, guest).sockets:
        path.unlink(missing_ok=True)


async def revive(services: Services, machine: Machine) -> Machine:
    """The guest in another QEMU, paused where it stood: see adapters/qemu/revival.py."""
    return await revival.revive(machine, taps(machine.guest), services.config.qemu_user)


async def shut_down(machine: Machine, within_s: float) -> None:
    """Asks the guest to shut down; returns when it has, or its time is over."""
    try:
        if within_s > 0:
            await machine.power_button()
            await machine.monitor.until(lambda: bool(machine.ended_by_guest), within_s=within_s)
    except (TimeoutError, QemuGone):
        log.warning("the guest did not shut down in time and is ended", guest=machine.guest.name)


async def clear_network(services: Services, guest: Guest) -> None:
    """Removes the guest's taps and tunnels from this host."""
    await services.metadata.detach(guest)
    await services.flows.drop(guest)
    for nic in guest.nics:
        await services.links.remove(tunnel_name(nic))
        await services.links.remove(tap_name(guest.name, nic))
    for second in taps(guest, "second"):
        await services.links.remove(second)


async def open_ports(services: Services, guest: Guest) -> None:
    """The bridge treats the guest's taps as any other port, and overlays lead here."""
    for nic in guest.nics:
        await services.steering.open_target(tap_name(guest.name, nic))
    await services.networks.guest_is_here(guest)
    await services.flows.keep(guest)
    for peer in services.peers.values():  # Nobody waits for a host that does not answer.
        telling = asyncio.create_task(_tell_place(peer, guest))
        _tellings.add(telling)
        telling.add_done_callback(_tellings.discard)


_tellings: set[asyncio.Task[None]] = set()


async def _tell_place(peer: PeerClient, guest: Guest) -> None:
    """One try: a host that does not hear it learns from the guest's own frames."""
    cards: dict[str, list[str]] = {}
    for network, mac in overlay_cards(guest):
        cards.setdefault(network, []).append(mac)
    for network, macs in cards.items():
        try:
            await peer.lead(network, macs)
        except (ConnectionError, TimeoutError, SegueError) as error:
            log.info(
                "a host was not told of a guest's place", host=peer.name, guest=guest.name, why=str(error)
            )
