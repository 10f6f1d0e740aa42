"""Brings the disks of a guest that runs here already from the host that it left: on demand, and in the background."""

from __future__ import annotations

from pathlib import Path

import structlog

from segue.adapters.qemu import identity
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.stream import DiskStreams
from segue.adapters.storage import image
from segue.adapters.store.journal import Journal
from segue.agent.config import Config
from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.model.landing import Placement
from segue.model.storage import DiskProgress, Origin

log = structlog.get_logger()


class Pulling:
    """What the journal says of disks that are not all here; a guest is started with them for as long as it says so."""

    def __init__(self, config: Config, journal: Journal) -> None:
        self._config = config
        self._notes = journal.disks

    async def prepare(self, placement: Placement) -> None:
        """Empty disks that will be filled from the source. The same again when asked again."""
        guest = placement.guest
        owner = identity.of(guest, self._config.qemu_user)
        known = {path for path, _ in self._notes.arrivals(guest.uuid)}
        for copy in placement.copies:
            path = Path(copy.disk.path)
            if copy.disk.path not in known:
                if path.exists():
                    raise _in_the_way(guest, self._config.name, copy.disk.path)
                self._notes.coming(guest.uuid, placement.migration, copy.disk.path)
                await image.make(path, copy.disk.format, copy.disk.size_bytes, owner)
            origin = Origin(copy.disk.id, placement.origin, placement.source, placement.migration)
            self._notes.pull(guest.uuid, origin)

    def origins(self, guest: str) -> tuple[Origin, ...]:
        """From where the disks of this guest (a uuid) are still pulled."""
        return self._notes.origins(guest)

    def forget(self, guest: str) -> None:
        """The guest does not come, or is no more."""
        for origin in self.origins(guest):
            self._notes.pulled(guest, origin.disk)

    async def tend(self, guest: Guest, machine: Machine) -> str:
        """Starts what has to be pulled, notes what has been; what people should know, empty when all is here."""
        waiting = self.origins(guest.uuid)
        if not waiting:
            return ""
        streams = DiskStreams(machine)
        for origin in waiting:
            if await streams.done(origin.disk):
                self._notes.pulled(guest.uuid, origin.disk)
                log.info("a disk is here", guest=guest.name, disk=origin.disk)
            else:
                await streams.begin(origin.disk)
        left = self.origins(guest.uuid)
        if not left:
            return ""
        progress = await streams.progress([origin.disk for origin in left])
        return _at_risk(left[0].host, progress)

    async def progress(self, guest: Guest, machine: Machine | None) -> tuple[DiskProgress, bool]:
        """How far it is, and whether all is here."""
        left = self.origins(guest.uuid)
        if not left:
            return DiskProgress(), True
        if machine is None or not machine.alive():
            return DiskProgress(), False
        return await DiskStreams(machine).progress([origin.disk for origin in left]), False


def _at_risk(host: str, progress: DiskProgress) -> str:
    share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 0.0
    return (
        f"at risk: its disks are still on {host}, {share:.0%} is here; "
        f"if {host} goes now the guest stands until it is back"
    )


def _in_the_way(guest: Guest, here: str, path: str) -> Refused:
    return Refused(
        what=f"{here} does not take {guest.name}",
        why=f"its {path} exists already, and is not overwritten",
        todo="Move that file away if nobody needs it.",
        kind=Kind.CONFLICT,
    )
