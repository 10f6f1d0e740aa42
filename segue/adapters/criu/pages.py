"""Memory that goes before an application stands: pages are known by what they hold, so that of the last dump only those
are sent which the target has not got yet. Where a page lies means nothing, and no kernel has to note what is written.

A page that changes while it is read is sent as nobody will want it; then the dump finds that it is not known.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from segue.adapters.criu import memory

PAGE_BYTES: Final = memory.PAGE_BYTES
DIGEST_BYTES: Final = 16
BLOCK_BYTES: Final = 1 << 20
KNOWN, NEW = 1, 0
COUNT: Final = struct.Struct("!H")
Send = Callable[[bytes], None]


def digest(page: bytes | memoryview) -> bytes:
    """SHA-256, cut to 128 bits: two pages of one digest are one page."""
    return hashlib.sha256(page).digest()[:DIGEST_BYTES]


class Sent:
    """The source's side: what the target has, and what it lacks."""

    def __init__(self, most: int) -> None:
        self._known: set[bytes] = set()
        self._left = most
        """So many pages the target still takes."""

    def round(self, cgroup: Path, send: Send) -> int:
        """Sends what is new in the memory of these processes, which may run; how many bytes that were."""
        sent = 0
        for pid in memory.processes(cgroup).values():
            with suppress(OSError):  # It ended.
                for block in self._news(pid):
                    send(block)
                    sent += len(block)
        return sent

    def _news(self, pid: int) -> Iterator[bytes]:
        with memory.opened(pid) as handle:
            for first, own in memory.own_pages(pid, BLOCK_BYTES):
                if block := self._unknown(_read(handle, first, len(own)), own):
                    yield block

    def _unknown(self, data: memoryview, own: bytes) -> bytes:
        found = bytearray()
        for number in range(min(len(own), len(data) // PAGE_BYTES)):
            page = data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
            if own[number] and self._left and (key := digest(page)) not in self._known:
                self._known.add(key)
                self._left -= 1
                found += page
        return bytes(found)

    def short(self, data: bytes) -> bytes:
        """A part of an image for `Held.write`: what the target has is named; empty where that saves nothing."""
        if not self._known or not data or len(data) % PAGE_BYTES:
            return b""
        view, flags, names, rest = memoryview(data), bytearray(), bytearray(), bytearray()
        for at in range(0, len(data), PAGE_BYTES):
            page = view[at : at + PAGE_BYTES]
            is_known = (key := digest(page)) in self._known
            flags.append(KNOWN if is_known else NEW)
            names += key if is_known else b""
            rest += b"" if is_known else page
        return COUNT.pack(len(flags)) + bytes(flags + names + rest) if names else b""


class Held:
    """The target's side: the pages that came before, in a file that lies in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._at: dict[bytes, int] = {}
        self._end = 0

    def add(self, data: bytes | bytearray) -> None:
        """Pages of a round. Raises ValueError, OSError."""
        if len(data) % PAGE_BYTES:
            raise ValueError("half a page has come")
        view = memoryview(data)
        for at in range(0, len(data), PAGE_BYTES):
            self._at[digest(view[at : at + PAGE_BYTES])] = self._end + at
        _write(self._file, self._end, view)
        self._end += len(data)

    def write(self, to: int, offset: int, said: bytes | bytearray) -> None:
        """Writes a part of an image, as `Sent.short` said it. Raises ValueError, OSError."""
        view, at = memoryview(said), COUNT.size
        if len(said) < at or len(said) < at + COUNT.unpack_from(said)[0]:
            raise ValueError("a part of an image is not as long as it says")
        flags = view[at : at + COUNT.unpack_from(said)[0]]
        at += len(flags)
        rest = at + DIGEST_BYTES * sum(flag == KNOWN for flag in flags)
        for kind, first, pages in _runs(flags):
            place = offset + first * PAGE_BYTES
            if kind != KNOWN:
                _write(to, place, view[rest : rest + pages * PAGE_BYTES])
                rest += pages * PAGE_BYTES
            else:
                self._copy(
                    to, place, [bytes(view[at + n * DIGEST_BYTES :][:DIGEST_BYTES]) for n in range(pages)]
                )
                at += pages * DIGEST_BYTES
        if rest != len(said):
            raise ValueError("a part of an image is not as long as it says")

    def _copy(self, to: int, place: int, names: list[bytes]) -> None:
        """Neighbours on the source mostly are here, too."""
        try:
            places = [self._at[name] for name in names]
        except KeyError as error:
            raise ValueError("a page is named that has not come") from error
        begin = 0
        for number in range(1, len(places) + 1):
            if number == len(places) or places[number] != places[number - 1] + PAGE_BYTES:
                _carry(
                    self._file, to, places[begin], place + begin * PAGE_BYTES, (number - begin) * PAGE_BYTES
                )
                begin = number

    def close(self) -> None:
        """Gives their memory back."""
        os.close(self._file)
        self._path.unlink(missing_ok=True)


def _runs(flags: memoryview) -> Iterator[tuple[int, int, int]]:
    """(flag, number of the first page, how many) of neighbours of one sort."""
    begin = 0
    for number in range(1, len(flags) + 1):
        if number == len(flags) or flags[number] != flags[begin]:
            yield flags[begin], begin, number - begin
            begin = number


def _read(handle: int, first: int, pages: int) -> memoryview:
    return memoryview(os.pread(handle, pages * PAGE_BYTES, first))


def _write(to: int, place: int, data: memoryview) -> None:
    at = 0
    while at < len(data):
        at += os.pwrite(to, data[at:], place + at)


def _carry(of: int, to: int, at: int, place: int, length: int) -> None:
    data = memoryview(os.pread(of, length, at))
    if len(data) < length:
        raise ValueError("the file of pages is shorter than it should be")
    _write(to, place, data)
