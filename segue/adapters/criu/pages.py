"""Memory that goes before an application stands. The source notes what each page held when it was sent, and where the
target has put it: at the same address, in a file that CRIU then takes for an earlier image. Of the last dump only those
pages are sent, and written there, that hold something else. No kernel has to note what is written.

A page that changes while it is read is sent as nobody will want it; then the dump finds that it is another one.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from segue.adapters.criu import memory, pagemap
from segue.adapters.criu.channel import CHUNK_BYTES

PAGE_BYTES: Final = memory.PAGE_BYTES
DIGEST_BYTES: Final = 16
BLOCK_BYTES: Final = 1 << 20
BLOCK_PAGES: Final = BLOCK_BYTES // PAGE_BYTES
GROUP_PAGES: Final = 16
GROUP_BYTES: Final = GROUP_PAGES * PAGE_BYTES
"""Neighbours are digested together where nothing changed: that takes half of the time."""
NOTHING: Final = bytes(DIGEST_BYTES)
SPACE_SHIFT: Final = 48
"""A page's place: (number of the address space << SPACE_SHIFT) + number of the page in it."""
COPIED: Final = struct.Struct("!IQI")
"""Pages that are there already: number of their address space, of the first page, how many."""
COPIES_MAX: Final = CHUNK_BYTES // COPIED.size
Send = Callable[[str, str, int, bytes], None]
"""One word of the channel: what, name of a file, place in it, data."""


def digest(page: bytes | memoryview) -> bytes:
    """SHA-256, cut to 128 bits: two pages of one digest are one page."""
    return hashlib.sha256(page).digest()[:DIGEST_BYTES]


def file_of(space: int) -> str:
    """Where the target keeps the pages of an address space."""
    return f"pages-{space}.img"


@dataclass
class Judged:
    """Pages that CRIU wrote, one after the other."""

    names: bytearray = field(default_factory=bytearray)
    """Each page's digest."""
    new: bytearray = field(default_factory=bytearray)
    """For each page whether the target has nothing like it."""


@dataclass
class Dumped(Judged):
    """One file of them, as far as it was looked at."""

    sent_bytes: int = 0
    """Of what is new."""


class Sent:
    """The source's side: what the target has, and where."""

    def __init__(self, most: int) -> None:
        self._places: dict[bytes, int] = {}
        """Where one page of this digest lies; there may be others that are not found here."""
        self._blocks: dict[int, bytearray] = {}
        """Place of the first page / BLOCK_PAGES -> the digests of what lies in that block, one after the other."""
        self._groups: dict[int, bytes] = {}
        """Place of the first page / GROUP_PAGES -> the digest of all that lie there."""
        self._spaces: dict[str, int] = {}
        self._dumped: dict[str, Dumped] = {}
        self._left = most
        """For so many pages more there is room on the target."""

    def round(self, cgroup: Path, send: Send) -> int:
        """Sends what is new in the memory of these processes, which may run; how many bytes that were."""
        telling = Telling(send)
        for inner, pid in memory.processes(cgroup).items():
            for span, first, own, data in _memory(pid):
                space = self.space(f"shmem-{span.inode}" if span.is_shared else str(inner))
                begin = first - span.first + span.offset if span.is_shared else first
                self.put(space, begin // PAGE_BYTES, data, own, telling)
        return telling.bytes

    def space(self, name: str) -> int:
        """The number of an address space: that of a process, or of memory that several share, as CRIU names it."""
        return self._spaces.setdefault(name, len(self._spaces) + 1)

    def put(self, space: int, first: int, data: memoryview, own: bytes, telling: Telling) -> None:
        """Has the target hold these pages at their places, from page number `first` on, where `own` says so."""
        number, count = 0, min(len(own), len(data) // PAGE_BYTES)
        while number < count:
            place = (space << SPACE_SHIFT) + first + number
            length = min(GROUP_PAGES - place % GROUP_PAGES, count - number)
            part = data[number * PAGE_BYTES : (number + length) * PAGE_BYTES]
            name = digest(part) if length == GROUP_PAGES and all(own[number : number + length]) else b""
            if not name or self._groups.get(place // GROUP_PAGES) != name:
                self._groups.pop(place // GROUP_PAGES, None)
                if self._put(place, part, own[number : number + length], telling) and name:
                    self._groups[place // GROUP_PAGES] = name
            number += length
        telling.end()

    def _put(self, first: int, data: memoryview, own: bytes, telling: Telling) -> bool:
        """True where the target then holds all of them."""
        is_all = True
        for number in range(len(own)):
            if not own[number]:
                continue
            page = data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
            name, place = digest(page), first + number
            if self._held(place, 1) == name:
                continue
            if not self._note(place, name):
                is_all = False
                continue
            home = self._places.setdefault(name, place)
            if home == place:
                telling.page(place, page)
            else:
                telling.copy("copy", place, home)
        return is_all

    def _held(self, place: int, count: int) -> bytes:
        """The digests of neighbours in one block."""
        block = self._blocks.get(place // BLOCK_PAGES, b"")
        at = place % BLOCK_PAGES * DIGEST_BYTES
        return bytes(block[at : at + count * DIGEST_BYTES])

    def _note(self, place: int, name: bytes) -> bool:
        """False where the target may not hold more."""
        block = self._blocks.setdefault(place // BLOCK_PAGES, bytearray(BLOCK_PAGES * DIGEST_BYTES))
        at = place % BLOCK_PAGES * DIGEST_BYTES
        old = bytes(block[at : at + DIGEST_BYTES])
        if old == NOTHING:
            if not self._left:
                return False
            self._left -= 1
        elif self._places.get(old) == place:
            del self._places[old]
        block[at : at + DIGEST_BYTES] = name
        return True

    def judge(self, data: memoryview) -> Judged:
        """Pages of a dump, as they lie there. Several threads may, as nothing changes any more."""
        if not self._places:  # Nothing went before.
            pages = -(-len(data) // PAGE_BYTES)
            return Judged(bytearray(pages * DIGEST_BYTES), bytearray([1]) * pages)
        found, at, next_place = Judged(), 0, -1
        while at < len(data):
            if next_place >= 0 and next_place % GROUP_PAGES == 0 and at + GROUP_BYTES <= len(data):
                name = self._groups.get(next_place // GROUP_PAGES)
                if name is not None and digest(data[at : at + GROUP_BYTES]) == name:
                    found.names += self._held(next_place, GROUP_PAGES)
                    found.new += bytes(GROUP_PAGES)
                    next_place, at = next_place + GROUP_PAGES, at + GROUP_BYTES
                    continue
            at, next_place = self._judge_group(data, at, next_place, found)
        return found

    def _judge_group(self, data: memoryview, at: int, next_place: int, found: Judged) -> tuple[int, int]:
        """Page by page, to where a group may begin; where that is, and its place if this one's end is known."""
        while at < len(data):
            name = digest(data[at : at + PAGE_BYTES])
            home = self._places.get(name, -1)
            found.names += name
            found.new.append(home < 0)
            at += PAGE_BYTES
            is_here = next_place >= 0 and self._held(next_place, 1) == name
            next_place = next_place + 1 if is_here else home + 1 if home >= 0 else -1
            if next_place >= 0 and next_place % GROUP_PAGES == 0:
                break
        return at, next_place

    def new(self, file: str, data: memoryview, judged: Judged) -> Iterator[tuple[int, bytes]]:
        """The next pages of a file of the dump: what of them is to be sent, and its place in the target's file, which
        holds these alone."""
        seen = self._dumped.setdefault(file, Dumped())
        seen.names += judged.names
        seen.new += judged.new
        for flag, first, count in pagemap.runs(judged.new):
            if flag:
                yield seen.sent_bytes, bytes(data[first * PAGE_BYTES : (first + count) * PAGE_BYTES])
                seen.sent_bytes += count * PAGE_BYTES

    def settle(self, folder: Path, send: Send) -> dict[str, int]:
        """Once all is dumped: has the target put what it holds where it belongs, and read it from there. The sizes of
        the files that are others there. Raises OSError, ValueError."""
        telling, sizes = Telling(send), {name: seen.sent_bytes for name, seen in self._dumped.items()}
        for path in folder.glob(f"{pagemap.PREFIX}*.img"):
            image = path.read_bytes()
            found = pagemap.parsed(image, path.name)
            seen = self._dumped.get(file_of(found.pages_id))
            if seen is not None and not all(seen.new):
                space = self.space(path.stem.removeprefix(pagemap.PREFIX))
                self._move(space, found, seen, telling)
                send("pages", path.name, 0, found.parent(space))
                image = found.packed(seen.new)
            send("data", path.name, 0, image)
            sizes[path.name] = len(image)
        return sizes

    def _move(self, space: int, found: pagemap.Pagemap, seen: Dumped, telling: Telling) -> None:
        """What lies elsewhere on the target is put at its place."""
        at = 0
        for first, count in found.addresses():
            for flag, begin, length in pagemap.runs(seen.new[at : at + count]):
                if not flag:
                    place = (space << SPACE_SHIFT) + first + begin
                    for number, name in self._elsewhere(place, seen.names, at + begin, length):
                        telling.copy("move", place + number, self._home(name))
            at += count
        telling.end()

    def _home(self, name: bytes) -> int:
        """Where one of these pages lies: the place that was noted first may have got another one since."""
        if name not in self._places:
            for block, names in self._blocks.items():
                for number in range(BLOCK_PAGES):
                    held = bytes(names[number * DIGEST_BYTES : (number + 1) * DIGEST_BYTES])
                    self._places.setdefault(held, block * BLOCK_PAGES + number)
        return self._places[name]

    def _elsewhere(self, place: int, names: bytearray, at: int, count: int) -> Iterator[tuple[int, bytes]]:
        """(number of the page, its digest) of those that are not at their place; mostly there are none."""
        number = 0
        while number < count:
            inside = (place + number) % BLOCK_PAGES
            length = min(count - number, BLOCK_PAGES - inside)
            held = self._held(place + number, length)
            wanted = names[(at + number) * DIGEST_BYTES : (at + number + length) * DIGEST_BYTES]
            if held != wanted:
                for each in range(length):
                    name = bytes(wanted[each * DIGEST_BYTES : (each + 1) * DIGEST_BYTES])
                    if held[each * DIGEST_BYTES : (each + 1) * DIGEST_BYTES] != name:
                        yield number + each, name
            number += length


class Telling:
    """Neighbours are told of together."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._what = ""
        self._first = self._next = 0
        self._data = bytearray()
        self._copies: list[tuple[int, int]] = []
        """(place of the first page, how many)"""
        self.bytes = 0

    def page(self, place: int, page: memoryview) -> None:
        """A page that the target has not got."""
        if self._what != "pages" or place != self._next or len(self._data) >= CHUNK_BYTES:
            self.end()
            self._begin("pages", place)
        self._data += page
        self._next += 1

    def copy(self, what: str, place: int, home: int) -> None:
        """One that it has, elsewhere. what: `copy`, or `move` where the order of several must not matter."""
        if self._what != what or place != self._next or len(self._copies) >= COPIES_MAX:
            self.end()
            self._begin(what, place)
        last, count = self._copies[-1] if self._copies else (0, 0)
        if count and home == last + count:
            self._copies[-1] = last, count + 1
        else:
            self._copies.append((home, 1))
        self._next += 1

    def end(self) -> None:
        """What was not told yet."""
        data = bytes(self._data) or b"".join(_copied(self._copies))
        if data:
            self._send(self._what, *located(self._first), data)
            self.bytes += len(data)
        self._what = ""
        self._data.clear()
        self._copies.clear()

    def _begin(self, what: str, place: int) -> None:
        self._what, self._first, self._next = what, place, place


def located(place: int) -> tuple[str, int]:
    """(file, offset)"""
    return file_of(place >> SPACE_SHIFT), (place & ((1 << SPACE_SHIFT) - 1)) * PAGE_BYTES


def _copied(copies: Iterable[tuple[int, int]]) -> Iterator[bytes]:
    for home, count in copies:
        yield COPIED.pack(home >> SPACE_SHIFT, home & ((1 << SPACE_SHIFT) - 1), count)


def _memory(pid: int) -> Iterator[tuple[memory.Span, int, bytes, memoryview]]:
    """As `memory.own_pages`, with what the pages hold, until the process ends. What is done with them then may fail in
    other ways, which are not taken for that."""
    with suppress(OSError), memory.opened(pid) as handle:
        for span, first, own in memory.own_pages(pid, BLOCK_BYTES):
            yield span, first, own, memoryview(os.pread(handle, len(own) * PAGE_BYTES, first))
