"""Digests what a guest sees of a disk, whatever its file looks like. Only for a disk to which nobody writes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

import msgspec

from segue.adapters import integrity
from segue.adapters.storage import image
from segue.errors import Aborted
from segue.model.integrity import DISK_BLOCK_BYTES as BLOCK_BYTES
from segue.model.integrity import Digests

NOTHING = ""
"""The digest of a block that reads as zeros here, or of which the layers below say what is in it."""
ZEROS = bytes(BLOCK_BYTES)


class Extent(msgspec.Struct):
    """One line of `qemu-img map`: guest's bytes, and where they lie in the file. Depth 0 is the disk itself."""

    start: int
    length: int
    depth: int
    data: bool
    offset: int | None = None


class Part(msgspec.Struct):
    """A piece of one block of the disk, and its place in the file."""

    block: int
    at: int
    length: int
    offset: int


async def digest(path: str, form: str, size_bytes: int) -> Digests:
    """One digest for each MiB of the disk, without what lies below it: layers are compared when they are sent.

    Raises Aborted where the disk holds something whose place in the file is not known, such as compressed clusters.
    """
    begun_s = time.perf_counter()
    extents = msgspec.json.decode(await image.extents(path, form), type=list[Extent])
    if any(extent.data and not extent.depth and extent.offset is None for extent in extents):
        raise Aborted(
            what=f"{path} cannot be compared",
            why="parts of it are compressed",
            todo="Move the guest without --verify full.",
        )
    values = await asyncio.to_thread(digests, Path(path), extents, size_bytes)
    return Digests(values, time.perf_counter() - begun_s)


def digests(path: Path, extents: Iterable[Extent], size_bytes: int) -> tuple[str, ...]:
    """Reads the file where the disk holds data; a block of zeros equals a hole."""
    values = [NOTHING] * -(-size_bytes // BLOCK_BYTES)
    buffer = bytearray(BLOCK_BYTES)
    with path.open("rb", buffering=0) as file:
        for number, parts in groupby(_parts(extents), key=lambda part: part.block):
            buffer[:] = ZEROS
            for part in parts:
                os.preadv(file.fileno(), [memoryview(buffer)[part.at : part.at + part.length]], part.offset)
            if buffer != ZEROS:
                values[number] = integrity.hashed(buffer)
    return tuple(values)


def _parts(extents: Iterable[Extent]) -> Iterator[Part]:
    for extent in extents:
        if not extent.data or extent.depth or extent.offset is None:
            continue
        at, end = extent.start, extent.start + extent.length
        while at < end:
            block, inside = divmod(at, BLOCK_BYTES)
            length = min(end - at, BLOCK_BYTES - inside)
            yield Part(block, inside, length, extent.offset + at - extent.start)
            at += length
