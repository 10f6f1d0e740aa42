"""What both hosts of a move know of one application's container: its places, its room, and the copy that comes in."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters import clock
from segue.adapters.criu.departure import Departure
from segue.adapters.criu.landing import Landing
from segue.adapters.criu.program import Container as Held
from segue.adapters.criu.program import Room
from segue.adapters.net import cell_move
from segue.adapters.net.batch import Batch
from segue.adapters.net.keeping import KeptFrames
from segue.adapters.net.steering import tap_name, tunnel_name
from segue.adapters.oci import container as containers
from segue.adapters.oci.container import Container
from segue.agent import plant_app
from segue.agent.services import Services
from segue.errors import Aborted, Refused
from segue.model.guest import Guest

if TYPE_CHECKING:
    from segue.agent.resident_app import AppResident

T = TypeVar("T")

log = structlog.get_logger()
NEIGHBOURS = "segue-neighbours.json"
"""Beside CRIU's images: whom the application's network knew on the source."""


def held(services: Services, guest: Guest) -> Held:
    """The container as CRIU's adapter wants to know it."""
    places = services.apps.places(guest)
    return Held(guest.name, places.bundle, places.crun, places.cgroup, places.folder)


def room(services: Services, guest: Guest, way: str) -> Room:
    """Beside the bundle, which does not outlive a container that is removed. way: `in` or `out`: the word that lets
    the one run ends the other, so that an agent which was restarted must never take one for the other."""
    return Room(services.config.run_dir / "moves" / f"{guest.name}.{way}")


def departure(services: Services, guest: Guest) -> Departure:
    """For an application that leaves."""
    return Departure(held(services, guest), room(services, guest, "out"), services.apps.hook)


class Arriving:
    """An application that comes to this host: its images, its files and the frames that wait for it."""

    def __init__(self, services: Services, guest: Guest) -> None:
        self._services = services
        self._guest = guest
        self._places = services.apps.places(guest)
        self._made: Container | None = None
        self._kept: dict[str, KeptFrames] = {}
        self._voice: Batch | None = None
        """Fired, it lets the application's kernel speak."""
        self._room = room(services, guest, "in")
        held_here, script = held(services, guest), services.apps.hook
        self.landing = Landing(held_here, self._room, script, self._launch, self._guarded)

    @property
    def is_complete(self) -> bool:
        """True once all is restored and waits for its word."""
        return self.landing.is_complete

    async def open(self, secret: str, *, on_demand: bool) -> str:
        """Waits for it, from host:port; what was left of an earlier stay is worth nothing."""
        if not self._services.apps.images.has(_image(self._guest)):
            raise _no_image(self._guest, self._services.config.name)
        await asyncio.to_thread(shutil.rmtree, self._places.folder, ignore_errors=True)
        self._places.folder.mkdir(mode=0o711, parents=True)
        await plant_app.make_network(self._services, self._guest, silent=True, hushed=True)
        self._voice = await self._mute()
        config = self._services.config
        memory = self._guest.memory_bytes
        return await self.landing.open(config.inlet, secret, memory, on_demand=on_demand)

    async def join(self, number: int, nic_at: int, remote: str) -> None:
        """One card's tunnel: what comes out of it is kept until the application runs."""
        nic = self._guest.nics[nic_at]
        tap, tunnel = tap_name(self._guest.name, nic), tunnel_name(nic)
        await self._services.steering.wait_at(tap, tunnel, number, self._services.config.address, remote)
        self._kept[tap] = KeptFrames(tunnel, arrived=True)

    async def _launch(self, argv: Sequence[str]) -> Container:
        await asyncio.to_thread(plant_app.make_bundle, self._services.apps, self._guest)
        await self._introduce()
        self._made = await containers.launch(self._places, argv, within_s=None)
        return self._made

    async def _guarded(self) -> None:
        """It ends with its host's lease, also while it waits for its word."""
        await self._services.lease.admit_tree(self._guest, self._places.cgroup)

    async def _introduce(self) -> None:
        path = self._room.images / NEIGHBOURS
        if not path.exists():  # An older source tells nothing of them.
            return
        try:
            known = path.read_bytes()
            await self._inside(lambda cards: cell_move.introduce(known, cards))
        except (OSError, ValueError) as error:  # It asks for them anew.
            log.warning("neighbours not known", guest=self._guest.name, error=str(error))

    async def go(self) -> tuple[Container | None, float]:
        """It runs, and gets the frames that waited. Raises Aborted where it cannot."""
        ways = {tap_name(self._guest.name, nic): tunnel_name(nic) for nic in self._guest.nics}
        for tap in ways:
            await self._services.steering.speak(tap)
        # As late as can be, and yet before CRIU lets its sockets speak; an agent before this one may have muted it.
        (self._voice or await self._mute()).fire()
        try:
            # Its sockets get what waited before their clients hear of them: what is newer would make that look too old
            # (PAWS, RFC 7323). Not before the word: what is acknowledged here is lost where the source goes on.
            ran_s = await self.landing.go(lambda: self._hand_frames(ways))
        except Aborted:
            for tap in ways:
                await self._services.steering.hush(tap)
            raise
        self._forget()
        return self._made or await containers.find(self._places), ran_s

    async def _mute(self) -> Batch:
        return await self._inside(cell_move.mute)

    async def _inside(self, work: Callable[[int], T]) -> T:
        """With the number of its cards, in its network."""
        cards = len(self._guest.nics)
        return await self._services.apps.cells.inside(self._places.netns, lambda: work(cards))

    async def _hand_frames(self, ways: dict[str, str]) -> None:
        try:
            for tap, tunnel in ways.items():
                given = self._give(tap)
                await self._services.steering.lead(tunnel, tap)
                given += self._give(tap)
                log.info("frames given", guest=self._guest.name, tap=tap, frames=given)
        except (OSError, NetlinkError) as error:  # It runs: its clients send again what was lost.
            log.warning("frames not given", guest=self._guest.name, error=str(error))

    def _give(self, tap: str) -> int:
        return self._kept[tap].give_back(tap) if tap in self._kept else 0

    async def drop(self) -> None:
        """Nothing of what came stays. Safe to repeat."""
        await self.landing.drop()
        self._forget()
        await plant_app.remove(self._services, self._guest, self._made)
        await asyncio.to_thread(self._services.apps.remove_files, self._guest)

    def _forget(self) -> None:
        for kept in self._kept.values():
            kept.close()
        self._kept.clear()
        if self._voice is not None:
            self._voice.close()
            self._voice = None


async def make_room(services: Services, resident: AppResident, secret: str, *, on_demand: bool) -> str:
    """Where the application's images and files go to, host:port. Raises Refused.

    on_demand: it runs here before its memory is in place.
    """
    guest = resident.guest
    assert guest is not None
    if resident.arriving_app is not None:
        await (
            resident.arriving_app.drop()
        )  # The source asks again: its word did not get here, or ours not there.
    await resident.memory_in_place()
    resident.arriving_app = Arriving(services, guest)
    resident.heard_s = clock.steady_s()
    try:
        return await resident.arriving_app.open(secret, on_demand=on_demand)
    except BaseException:
        await resident.discard()
        raise


def _image(guest: Guest) -> str:
    assert guest.app is not None
    return guest.app.image


def _no_image(guest: Guest, host: str) -> Refused:
    assert guest.app is not None
    return Refused(
        what=f"{host} does not take {guest.name}",
        why=f"it does not have its image {guest.app.reference} ({guest.app.image[:19]})",
        todo=f"Take it in there: `segue app pull {guest.app.reference}` for host {host}.",
    )
