"""Takes in the disks of guests that come here: files, a daemon through which the source writes them, their end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import structlog

from segue.adapters.qemu import identity
from segue.adapters.qemu.monitor import QemuGone
from segue.adapters.storage import files, image
from segue.adapters.storage.daemon import StorageDaemon
from segue.adapters.store.journal import Journal
from segue.agent.channels import Protection
from segue.agent.config import Config
from segue.agent.daemons import Daemons
from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.model.landing import Placement
from segue.model.storage import DiskCopy, DiskFile, Layer

log = structlog.get_logger()

PART = ".segue-part"
"""Ending of a file that is not complete yet."""


class Intake:
    """A file made here is noted first, and goes again unless the guest has run with it."""

    def __init__(self, config: Config, journal: Journal, protection: Protection, daemons: Daemons) -> None:
        self._config = config
        self._notes = journal.disks
        self._protection = protection
        self._daemons = daemons

    async def open(self, placement: Placement) -> str:
        """Makes the files and lets the source write them; where, as host:port. The same again when asked again."""
        guest = placement.guest
        self._protection.keep(placement)
        found = await self._daemons.need(guest, placement.migration)
        for copy in placement.copies:
            for layer in copy.missing:
                await self._take_in_layer(found, guest, placement.migration, layer)
            await self._take_in_disk(found, guest, placement.migration, copy)
        return found.address

    async def _take_in_disk(self, found: StorageDaemon, guest: Guest, migration: str, copy: DiskCopy) -> None:
        disk = copy.disk
        self._claim(guest, migration, disk.path)
        if not Path(disk.path).exists():
            await image.create(disk, identity.of(guest, self._config.qemu_user))
        await found.export(disk.id, _disk_node(disk), writable=True)

    async def _take_in_layer(self, found: StorageDaemon, guest: Guest, migration: str, layer: Layer) -> None:
        if Path(layer.path).exists():
            return  # It came with another disk, or with the try before.
        part = Path(layer.path + PART)
        self._claim(guest, migration, str(part))
        if not part.exists():
            part.touch()
            os.truncate(part, layer.file_bytes)
            identity.of(guest, self._config.qemu_user).own(part)
        await found.export(export_of(layer), _file_node(str(part)), writable=True)

    def _claim(self, guest: Guest, migration: str, path: str) -> None:
        """Nothing that was here before is ever written to."""
        if path in {mine for mine, _ in self._notes.arrivals(guest.uuid)}:
            return
        if Path(path).exists():
            raise Refused(
                what=f"{self._config.name} does not take {guest.name}",
                why=f"its {path} exists already, and is not overwritten",
                todo="Move that file away if nobody needs it.",
                kind=Kind.CONFLICT,
            )
        self._notes.coming(guest.uuid, migration, path)

    async def complete_layers(self, guest: Guest, layers: tuple[Layer, ...]) -> None:
        """What lies below the disks is here: compared, and from now on read-only and for other guests too."""
        found = await self._daemons.find(guest)
        for layer in layers:
            part = Path(layer.path + PART)
            if found is not None:
                await found.withdraw(export_of(layer))
            if not part.exists():
                continue  # Done by the try before.
            if await asyncio.to_thread(files.digest, part) != layer.digest:
                raise Refused(
                    what=f"{layer.path} was not copied right",
                    why="it is not what the source has",
                    todo="Look at the storage of both hosts, then try again.",
                )
            os.chown(part, 0, 0)
            part.chmod(0o644)
            part.rename(layer.path)
            self._notes.unmade(str(part))

    async def close(self, guest: Guest) -> None:
        """All that was written is in the files, and nobody writes to them from outside any more. Safe to repeat.

        Raises QemuGone where that cannot be vouched for.
        """
        if not guest.disks:
            return
        found = await self._daemons.find(guest)
        if found is not None:
            await found.close()
            self._daemons.forget(guest)
        elif self._daemons.left(guest):
            raise QemuGone("the storage daemon died before it had written everything")

    def written(self, guest: Guest, disks: Iterable[DiskFile]) -> list[DiskFile]:
        """Those of `disks` that came in for the guest: nobody is told of any other file here."""
        mine = {path for path, _ in self._notes.arrivals(guest.uuid)}
        return [disk for disk in disks if disk.path in mine]

    def settle(self, guest: str) -> None:
        """The guest has run here: the files are its own."""
        self._notes.came(guest)

    def holds(self, guest: str) -> bool:
        """True while files wait for a guest (a uuid) that has not run here."""
        return bool(self._notes.arrivals(guest))

    async def drop(self, guest: Guest) -> None:
        """The guest does not come after all: daemon and files go. Files that a guest has run with stay."""
        await self._daemons.end(guest)
        for path, _ in self._notes.arrivals(guest.uuid):
            Path(path).unlink(missing_ok=True)
            self._notes.unmade(path)
            log.info("a disk that came in for nothing is deleted", guest=guest.name, path=path)


def export_of(layer: Layer) -> str:
    """The NBD export of a layer: block devices' names are short, paths are not."""
    return f"layer-{layer.digest[:16]}"


def _disk_node(disk: DiskFile) -> dict[str, Any]:
    # What lies below is not opened: it may still be on its way, and a mirror never reads.
    below = {"backing": None} if disk.layers else {}
    return {"driver": disk.format, "discard": "unmap", "file": _file(disk.path), **below}


def _file_node(path: str) -> dict[str, Any]:
    return {"driver": "raw", "discard": "unmap", "file": _file(path)}


def _file(path: str) -> dict[str, Any]:
    return {"driver": "file", "filename": path, "discard": "unmap", "cache": {"direct": True}}
