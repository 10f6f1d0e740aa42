"""Makes the disks of a new guest, on storage that all hosts see or on this host's own, and deletes them with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from segue.adapters.qemu import identity
from segue.adapters.storage import image
from segue.agent.config import Config
from segue.model.guest import Disk, Guest
from segue.wire.frames import NewDisk, Storage

FORMATS = ("qcow2", "raw")
SIZES_BYTES = range(1 << 20, (64 << 40) + 1)


async def make(
    config: Config, guest: Guest, base: tuple[str, str], storage: Storage, more: tuple[NewDisk, ...]
) -> tuple[Disk, ...]:
    """All disks of a guest; when one cannot be made, none is left. base: (path, format) of its image's disk.

    The image's disk is copied on write, so that a hundred guests of one image need the room of one.
    """
    wanted = [(NewDisk(0, "qcow2", storage), base)] if base[0] else []
    wanted += [(disk, ("", "")) for disk in more]
    owner = identity.of(guest, config.qemu_user)
    made: list[Disk] = []
    try:
        for n, (disk, backing) in enumerate(wanted):
            ending = disk.format if backing[0] or not n else f"{n}.{disk.format}"
            path = folder(config, disk.storage) / f"{guest.name}-{guest.uuid[:8]}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            made.append(Disk(id=f"disk{n}", path=str(path), format=disk.format))
            await image.make(path, disk.format, disk.size_bytes, owner, backing=backing)
    except BaseException:
        remove_files(config, tuple(made))
        raise
    return tuple(made)


def wrong(more: tuple[NewDisk, ...]) -> Iterator[str]:
    """What cannot be meant."""
    for disk in more:
        if disk.size_bytes not in SIZES_BYTES:
            yield "a disk has between 1 MiB and 64 TiB"
        if disk.format not in FORMATS:
            yield f"'{disk.format}' is no format of a disk: {' or '.join(FORMATS)}"


def folder(config: Config, storage: Storage) -> Path:
    """Where such disks lie."""
    return config.shared_dir if storage is Storage.SHARED else config.disks_dir


def remove(config: Config, guest: Guest) -> None:
    """Deletes the disks that were made for this guest."""
    remove_files(config, guest.disks)


def remove_files(config: Config, disks: tuple[Disk, ...]) -> None:
    """Only those that lie where segue makes disks."""
    for disk in disks:
        path = Path(disk.path)
        if path.parent in {config.shared_dir, config.disks_dir}:
            path.unlink(missing_ok=True)
