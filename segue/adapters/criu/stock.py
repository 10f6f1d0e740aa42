"""The target's side of memory that goes before (see `pages.py`): files that CRIU takes for an earlier image, and memory
kept free for the processes. It starts nothing and judges nothing.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Final

from segue.adapters import system
from segue.adapters.criu.pages import COPIED, PAGE_BYTES, file_of

FOLDER: Final = "parent"
"""Where CRIU looks for the image before the one in this folder's own."""
SCRATCH: Final = "scratch"
PIECE_BYTES: Final = 1 << 20
HAND_BYTES: Final = 4 << 20
POPULATE_WRITE: Final = 23
"""linux/mman.h: MADV_POPULATE_WRITE, from Linux 5.14 on."""
LEFT_BYTES: Final = 256 << 20
"""Of the host's memory: never taken only to have it at hand."""


class Stock:
    """The pages that came before, each in its process's file where its address says."""

    def __init__(self, images: Path) -> None:
        self._folder = images / FOLDER
        self._files: dict[str, int] = {}
        self._moves: list[tuple[str, int, int]] = []
        """(file, place in it, bytes) of what lies in the scratch file, one after the other."""
        self._scratch_bytes = 0

    def put(self, name: str, offset: int, data: bytes | bytearray) -> None:
        """Pages, at their place. Raises OSError."""
        _write(self._file(name), offset, memoryview(data))

    def copy(self, name: str, offset: int, said: bytes | bytearray) -> None:
        """Pages that lie elsewhere, too. Raises ValueError, OSError."""
        self._copy(self._file(name), offset, said)

    def move(self, name: str, offset: int, said: bytes | bytearray) -> None:
        """As `copy`, once `settle` is called: what lies there may be wanted elsewhere. Raises ValueError, OSError."""
        length = self._copy(self._file(SCRATCH), self._scratch_bytes, said)
        self._moves.append((name, offset, length))
        self._scratch_bytes += length

    def held_bytes(self) -> int:
        """Memory that all of it takes."""
        return sum(os.fstat(file).st_blocks for file in self._files.values()) * 512

    def settle(self) -> None:
        """All is here. Raises ValueError, OSError."""
        at = 0
        for name, offset, length in self._moves:
            _carry(self._file(SCRATCH), at, self._file(name), offset, length)
            at += length
        if self._moves:
            (self._folder / SCRATCH).unlink()
        for file in self._files.values():
            os.close(file)
        self._files, self._moves = {}, []

    def _copy(self, to: int, offset: int, said: bytes | bytearray) -> int:
        if len(said) % COPIED.size:
            raise ValueError("half a place is named")
        begin = offset
        for space, first, count in COPIED.iter_unpack(said):
            name = file_of(space)
            if name not in self._files:
                raise ValueError("pages are named that have not come")
            _carry(self._files[name], first * PAGE_BYTES, to, offset, count * PAGE_BYTES)
            offset += count * PAGE_BYTES
        return offset - begin

    def _file(self, name: str) -> int:
        if name not in self._files:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._files[name] = os.open(self._folder / name, flags, 0o600)
        return self._files[name]


class AtHand:
    """Memory that the host has given already, so that processes get it at once when it is freed: nothing has to be
    written out for them then, and no hypervisor to be asked (our lab: 3 s for a GiB that was not used lately)."""

    def __init__(self) -> None:
        self._pieces: list[mmap.mmap] = []
        self._enough = False

    def grow(self, to_bytes: int) -> None:
        """At least so much, if the host has it."""
        while not self._enough and len(self._pieces) * HAND_BYTES < to_bytes:
            self._enough = system.memory_bytes()[1] < LEFT_BYTES
            piece = mmap.mmap(-1, HAND_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            try:
                piece.madvise(POPULATE_WRITE)
            except OSError:  # An older kernel, or no memory: it goes without.
                self._enough = True
            self._pieces.append(piece)

    def free(self) -> None:
        """Whoever asks for memory next gets it."""
        for piece in self._pieces:
            piece.close()
        self._pieces, self._enough = [], True


def _carry(of: int, at: int, to: int, place: int, length: int) -> None:
    done = 0
    while done < length:
        data = memoryview(os.pread(of, min(PIECE_BYTES, length - done), at + done))
        if not data:
            raise ValueError("pages are named that have not come")
        _write(to, place + done, data)
        done += len(data)


def _write(to: int, place: int, data: memoryview) -> None:
    at = 0
    while at < len(data):
        at += os.pwrite(to, data[at:], place + at)
