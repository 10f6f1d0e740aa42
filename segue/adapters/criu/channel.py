"""How a folder's files are cut into frames and put together again, over one of several sockets; it opens none."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final

HEADER: Final = struct.Struct("!BHQI")
"""Kind, bytes of the name, place in the file, bytes of data."""
CHUNK_BYTES: Final = 1 << 20
EVEN: Final = b"="
"""All that came on this socket is taken in."""
NAME_BYTES_MAX: Final = 255


class Kind(IntEnum):
    """What a frame is."""

    DATA = 1
    END = 2
    """Nothing follows on this socket. On one of them the data is the list of all files with their sizes."""
    GONE = 3
    ENTRY = 4
    BLOCK = 5
    """These three, on the first socket only: the application's own files, see `tree.py`."""
    PAGES = 9
    COPY = 10
    MOVE = 11
    """Memory that goes before, see `pages.py`: on the first socket only, and the first of them on any once the target
    has said `EVEN` on that one."""
    EVEN = 12
    """Asks for that."""


@dataclass(frozen=True)
class Frame:
    """One of them. `data` is read by whoever knows where it goes."""

    kind: Kind
    name: str
    offset: int
    length: int


def send(out: socket.socket, kind: Kind, name: str, offset: int, data: bytes | memoryview) -> None:
    """One frame."""
    raw = name.encode()
    out.sendall(HEADER.pack(kind, len(raw), offset, len(data)) + raw)
    if data:
        out.sendall(data)


def receive(source: socket.socket) -> Frame:
    """The head of the next frame. Raises ValueError for what is none, ConnectionError where it ends."""
    kind, name_bytes, offset, length = HEADER.unpack(exactly(source, HEADER.size))
    if name_bytes > NAME_BYTES_MAX or length > CHUNK_BYTES:
        raise ValueError("a frame is too long")
    name = exactly(source, name_bytes).decode()
    if name != os.path.basename(name) or name in {".", ".."}:
        raise ValueError(f"{name!r} is not the name of a file")
    return Frame(Kind(kind), name, offset, length)


def exactly(source: socket.socket, count: int) -> bytearray:
    """So many bytes. Raises ConnectionError where it ends before."""
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        got = source.recv_into(view[at:])
        if not got:
            raise ConnectionError("the other host closed the connection")
        at += got
    return data


def listing(folder: Path, otherwise: Mapping[str, int]) -> bytes:
    """Every file and its size, or the one that it has there."""
    return json.dumps(
        {entry.name: entry.stat().st_size for entry in os.scandir(folder)} | dict(otherwise)
    ).encode()


def differences(folder: Path, listed: bytes) -> list[str]:
    """What the list says and the folder does not have, in words."""
    wanted: dict[str, Any] = json.loads(listed)
    found = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    return [
        f"{name}: {found.get(name, 'none')} of {size} bytes"
        for name, size in wanted.items()
        if found.get(name) != size
    ]
