"""Says which disks of a guest two hosts share, which have to be copied, and why some cannot be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from segue.model.storage import DiskCopy, DiskFile, Layer, Sight

MARGIN_BYTES: Final = 64 << 20
"""Room that a file system needs beside the data: its own metadata, and what the guest writes meanwhile."""


@dataclass(frozen=True)
class Plan:
    """`copies` is what has to be brought; with any obstacle nothing may be begun."""

    copies: tuple[DiskCopy, ...] = ()
    obstacles: tuple[str, ...] = field(default=())


def plan(
    disks: tuple[DiskFile, ...],
    here: Mapping[str, Sight],
    there: Mapping[str, Sight],
    *,
    pull: bool = False,
    common: str = "",
) -> Plan:
    """pull: the guest is to run there before its disks are there. common: the folder that all hosts are meant to see.
    here, there: path -> what source and target see of it, for each disk and each layer.

    A disk is shared where the target sees the marker that the source has just laid beside it, and the very same
    file: names, sizes and contents can be equal by chance, or by cloning.
    """
    obstacles: list[str] = []
    copies: list[DiskCopy] = []
    for disk in disks:
        if common and disk.path.startswith(f"{common}/") and not _shared(disk.path, here, there):
            seen = there.get(disk.path, Sight())
            obstacles.append(_not_common(disk.path, common, seen))
            continue
        missing, reasons = _layers(disk, there)
        if not pull:  # What is pulled is what the guest sees; files below are of no interest.
            obstacles += reasons
        if _shared(disk.path, here, there):
            obstacles += [f"it does not see {layer.path}, on which {disk.path} rests" for layer in missing]
            continue
        obstacles += _uncopyable(disk, there.get(disk.path, Sight()))
        if pull and disk.format != "qcow2":
            obstacles.append(
                f"{disk.path} is {disk.format}: only a qcow2 disk can be used before all of it is there"
            )
        copies.append(DiskCopy(disk, () if pull else missing))
    obstacles += _room(copies, there)
    return Plan(tuple(copies), tuple(dict.fromkeys(obstacles)))


def _not_common(path: str, common: str, seen: Sight) -> str:
    """A copy would hide that storage is not mounted, and part the disk from where everybody looks for it."""
    if seen.exists:
        return f"its {path} is another file than ours: its {common} is not the storage that we have there"
    return f"it does not see {path}: {common} is meant to be on storage that all hosts see"


def _shared(path: str, here: Mapping[str, Sight], there: Mapping[str, Sight]) -> bool:
    ours, theirs = here.get(path, Sight()), there.get(path, Sight())
    return theirs.marked and theirs.exists and theirs.inode == ours.inode


def _uncopyable(disk: DiskFile, seen: Sight) -> Iterator[str]:
    if not disk.is_file:
        yield f"its disk {disk.path} is a block device, which segue does not copy: give the guest a file"
    if disk.snapshots:
        yield (
            f"{disk.path} has internal snapshots ({', '.join(disk.snapshots)}), which a copy would lose: "
            "delete them with `qemu-img snapshot -d`"
        )
    if seen.exists:
        yield f"its {disk.path} is another file than ours, and is not overwritten"
    elif not seen.folder:
        yield f"it has no folder for {disk.path}"


def _layers(disk: DiskFile, there: Mapping[str, Sight]) -> tuple[tuple[Layer, ...], list[str]]:
    missing, reasons = [], []
    for layer in disk.layers:
        seen = there.get(layer.path, Sight())
        if not seen.exists:
            missing.append(layer)
            if not seen.folder:
                reasons.append(f"it has no folder for {layer.path}")
        elif seen.digest != layer.digest:
            reasons.append(f"its {layer.path}, on which {disk.path} rests, is another file than ours")
    return tuple(missing), reasons


def _room(copies: list[DiskCopy], there: Mapping[str, Sight]) -> Iterator[str]:
    wanted: dict[int, int] = defaultdict(int)
    rooms: dict[int, tuple[int, str]] = {}
    counted: set[str] = set()
    for copy in copies:
        files = [(copy.disk.path, copy.disk.held_bytes)]
        files += [(layer.path, layer.file_bytes) for layer in copy.missing]
        for path, held in files:
            seen = there.get(path, Sight())
            if seen.folder and path not in counted:
                counted.add(path)
                wanted[seen.filesystem] += held
                rooms[seen.filesystem] = (seen.room_bytes, path)
    for filesystem, needed in wanted.items():
        room, path = rooms[filesystem]
        short = needed + MARGIN_BYTES - room
        if short > 0:
            yield f"it is {short / (1 << 20):.0f} MiB short of room for {path}"
