"""Memory that goes before an application stands. The source notes what each page held when it was sent, and where the
target has put it: at the same address, in a file that CRIU then takes for an earlier image. Once it stands only those
pages are sent that hold something else by then. No kernel has to note what is written, and CRIU writes no page.

A page that changes while it is read is sent as nobody will want it; a later look finds that it is another one.
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from segue.adapters.criu import memory, pagemap
from segue.adapters.criu.channel import CHUNK_BYTES
from segue.adapters.criu.memory import Span

PAGE_BYTES: Final = memory.PAGE_BYTES
TAG_BYTES: Final = 16
NONCE: Final = bytes(12)
"""Always the same: nothing is encrypted, and no tag is ever told."""
BLOCK_BYTES: Final = 1 << 20
BLOCK_PAGES: Final = BLOCK_BYTES // PAGE_BYTES
GROUP_PAGES: Final = 16
GROUP_BYTES: Final = GROUP_PAGES * PAGE_BYTES
"""Neighbours are looked at together where nothing changed: that takes a third of the time."""
NOTHING: Final = bytes(TAG_BYTES)
SPACE_SHIFT: Final = 48
"""A page's place: (number of the address space << SPACE_SHIFT) + number of the page in it."""
COPIED: Final = struct.Struct("!IQI")
"""Pages that are there already: number of their address space, of the first page, how many."""
COPIES_MAX: Final = CHUNK_BYTES // COPIED.size
SAME, NEW = 1, 2
NOBODY: Final = bytes(BLOCK_PAGES)
IS_SEEN: Final = bytes([0] + [1] * 255)
AHEAD: Final = 2
Part = tuple[int, int, bytes, memoryview]
"""Space, number of the first page in it, which pages are there (one byte each), what they hold."""
Opened = Callable[[str], AbstractContextManager[int]]
Later = tuple[Span, Callable[[], Part]]
Send = Callable[[str, str, int, bytes], None]
"""One word of the channel: what, name of a file, place in it, data."""


def file_of(space: int) -> str:
    """Where the target keeps the pages of an address space."""
    return f"{pagemap.PAGES}{space}.img"


class Sent:
    """The source's side: what the target has, and where.

    What a page holds is known by its tag (GMAC, NIST SP 800-38D) under a key that nobody is told: two that differ have
    the same one by a chance of about 2^-120, whoever chooses what they hold.
    """

    def __init__(self, most: int) -> None:
        self._places: dict[bytes, int] = {}
        """Where one page of this tag lies; there may be others that are not found here."""
        self._blocks: dict[int, bytearray] = {}
        """Place of the first page / BLOCK_PAGES -> the tags of what lies in that block, one after the other."""
        self._groups: dict[int, bytes] = {}
        """Place of the first page / GROUP_PAGES -> the tag of all that lie there."""
        self._wholes: dict[int, bytes] = {}
        """The same of blocks."""
        self._spaces: dict[str, int] = {}
        self._most = self._left = most
        """For so many pages more there is room on the target."""
        self._seen: dict[int, bytearray] | None = None
        """Once it stands: as `_blocks`, of each page whether it was looked at (SAME, NEW)."""
        self._tags = AESGCM(AESGCM.generate_key(128))

    def round(self, cgroup: Path, send: Send) -> int:
        """Sends what is new in the memory of these processes, which may run; how many bytes that were."""
        telling = Telling(send)
        for _, (space, first, own, data) in _ahead(self._memory(cgroup)):
            self.put(space, first, data, own, telling)
        return telling.bytes

    def last(self, cgroup: Path, send: Send) -> None:
        """The same, once they stand and CRIU is at work on them: in memory that is executed it leaves code of its own
        for a moment, so that this is left for `settle`. Pages may overtake each other on the way."""
        self.stand()
        telling = Telling(send)
        for span, (space, first, own, data) in _ahead(self._memory(cgroup)):
            if not span.is_code:
                self.put(space, first, data, own, telling)

    def stand(self) -> None:
        """From here on nothing of it changes."""
        self._seen, self._left = {}, self._left + self._most

    def settle(self, folder: Path, opened: Opened, send: Send) -> dict[str, int]:
        """Once all is dumped: sends what `last` did not look at, and has CRIU read all memory from where the target has
        put it. The sizes of the files that are others there. Raises OSError, ValueError.

        opened: by the name in a pagemap, its memory as a file.
        """
        telling, sizes = Telling(send), dict[str, int]()
        for path in sorted(folder.glob(f"{pagemap.PREFIX}*.img")):
            image, name = path.read_bytes(), path.stem.removeprefix(pagemap.PREFIX)
            found, space = pagemap.parsed(image, path.name), self.space(name)
            with opened(name) as handle:
                for first, count in found.addresses():
                    self._complete(handle, space, first, count, telling)
            if any(found.addresses()):
                send("pages", path.name, 0, found.parent(space))
                image = found.in_parent()
            for file, content in (path.name, image), (file_of(found.pages_id), b""):
                send("data", file, 0, content)
                sizes[file] = len(content)
        return sizes

    def _complete(self, handle: int, space: int, first: int, count: int, telling: Telling) -> None:
        for begin, length in self._unseen(space, first, count):
            data = os.pread(handle, length * PAGE_BYTES, begin * PAGE_BYTES)
            if data and begin * PAGE_BYTES + len(data) == os.fstat(handle).st_size:
                data += bytes(-len(data) % PAGE_BYTES)  # Shared memory may end within a page.
            if len(data) != length * PAGE_BYTES:
                raise ValueError(f"memory at {begin * PAGE_BYTES:#x} cannot be read")
            self.put(space, begin, memoryview(data), bytes([1]) * length, telling)

    def _unseen(self, space: int, first: int, count: int) -> Iterator[tuple[int, int]]:
        """(first page, how many) of those that nobody has looked at since it stands, never beyond a block."""
        seen = self._seen or {}
        at = first
        while at < first + count:
            place = (space << SPACE_SHIFT) + at
            length = min(first + count - at, BLOCK_PAGES - place % BLOCK_PAGES)
            flags = seen.get(place // BLOCK_PAGES, bytes(BLOCK_PAGES))[place % BLOCK_PAGES :][:length]
            for flag, begin, many in pagemap.runs(flags.translate(IS_SEEN)):
                if not flag:
                    yield at + begin, many
            at += length

    def space(self, name: str) -> int:
        """The number of an address space: that of a process, or of memory that several share, as CRIU names it."""
        return self._spaces.setdefault(name, len(self._spaces) + 1)

    def put(self, space: int, first: int, data: memoryview, own: bytes, telling: Telling) -> None:
        """Has the target hold these pages at their places, from page number `first` on, where `own` says so.

        Raises ValueError where it has no room for them, and they stand.
        """
        count, place = min(len(own), len(data) // PAGE_BYTES), (space << SPACE_SHIFT) + first
        block = place // BLOCK_PAGES
        whole = self._tag(data) if count == BLOCK_PAGES and not place % BLOCK_PAGES and all(own) else b""
        if whole and self._wholes.get(block) == whole:
            return self._saw(place, count, SAME)
        self._wholes.pop(block, None)
        if self._put_groups(place, data, own[:count], telling) and whole:
            self._wholes[block] = whole
        return telling.end()

    def _put_groups(self, first: int, data: memoryview, own: bytes, telling: Telling) -> bool:
        """True where the target then holds all of them."""
        number, count, is_all = 0, len(own), True
        while number < count:
            place = first + number
            length = min(GROUP_PAGES - place % GROUP_PAGES, count - number)
            part, owned = (
                data[number * PAGE_BYTES : (number + length) * PAGE_BYTES],
                own[number : number + length],
            )
            name = self._tag(part) if length == GROUP_PAGES and all(owned) else b""
            if name and self._groups.get(place // GROUP_PAGES) == name:
                self._saw(place, length, SAME)
            else:
                self._groups.pop(place // GROUP_PAGES, None)
                if not self._put(place, part, owned, telling):
                    is_all = False
                elif name:
                    self._groups[place // GROUP_PAGES] = name
            number += length
        return is_all

    def _put(self, first: int, data: memoryview, own: bytes, telling: Telling) -> bool:
        """True where the target then holds all of them."""
        is_all = True
        for number in range(len(own)):
            if not own[number]:
                continue
            page = data[number * PAGE_BYTES : (number + 1) * PAGE_BYTES]
            name, place = self._tag(page), first + number
            if self._held(place) == name:
                self._saw(place, 1, SAME)
                continue
            if not self._note(place, name):
                is_all = False
                continue
            home = self._places.setdefault(name, place)
            if home != place and self._stays(home):
                telling.copy(place, home)
            else:
                telling.page(place, page)
            self._saw(place, 1, NEW)
        return is_all

    def _tag(self, data: memoryview) -> bytes:
        return self._tags.encrypt(NONCE, b"", data)

    def _saw(self, place: int, count: int, flag: int) -> None:
        """count: never beyond a block."""
        if self._seen is not None:
            block = self._seen.setdefault(place // BLOCK_PAGES, bytearray(BLOCK_PAGES))
            block[place % BLOCK_PAGES : place % BLOCK_PAGES + count] = bytes([flag]) * count

    def _stays(self, place: int) -> bool:
        """Whether what lies there is there already, and is not written over."""
        if self._seen is None:
            return True
        return self._seen.get(place // BLOCK_PAGES, NOBODY)[place % BLOCK_PAGES] == SAME

    def _held(self, place: int) -> bytes:
        """The tag of what lies there."""
        block = self._blocks.get(place // BLOCK_PAGES, b"")
        at = place % BLOCK_PAGES * TAG_BYTES
        return bytes(block[at : at + TAG_BYTES])

    def _note(self, place: int, name: bytes) -> bool:
        """False where the target may not hold more."""
        block = self._blocks.setdefault(place // BLOCK_PAGES, bytearray(BLOCK_PAGES * TAG_BYTES))
        at = place % BLOCK_PAGES * TAG_BYTES
        old = bytes(block[at : at + TAG_BYTES])
        if old == NOTHING:
            if not self._left:
                if self._seen is not None:
                    raise ValueError(
                        "the target has no room for more pages than the application was promised, twice"
                    )
                return False
            self._left -= 1
        elif self._places.get(old) == place:
            del self._places[old]
        block[at : at + TAG_BYTES] = name
        return True

    def _memory(self, cgroup: Path) -> Iterator[Later | None]:
        """What the processes hold, block after block: a call that reads it. None after each process: its memory is
        closed when the next is asked for."""
        for inner, pid in memory.processes(cgroup).items():
            with suppress(OSError), memory.opened(pid) as handle:
                for span, first, own in memory.own_pages(pid, BLOCK_BYTES):
                    space = self.space(f"{pagemap.SHARED}{span.inode}" if span.is_shared else str(inner))
                    begin = first - span.first + span.offset if span.is_shared else first
                    yield span, partial(_read, handle, first, own, space, begin // PAGE_BYTES)
                yield None


def _read(handle: int, address: int, own: bytes, space: int, first: int) -> Part:
    """Nothing of a process that has ended meanwhile, or of memory that it has given back."""
    try:
        data = os.pread(handle, len(own) * PAGE_BYTES, address)
    except OSError:
        data = b""
    return space, first, own, memoryview(data)


def _ahead(parts: Iterator[Later | None]) -> Iterator[tuple[Span, Part]]:
    """Each of them, and the next ones are read meanwhile."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waits: deque[tuple[Span, Future[Part]]] = deque()
        for later in parts:
            if later is not None:
                waits.append((later[0], pool.submit(later[1])))
            while len(waits) > (2 * AHEAD if later is not None else 0):
                span, done = waits.popleft()
                yield span, done.result()


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

    def copy(self, place: int, home: int) -> None:
        """One that it has, elsewhere."""
        if self._what != "copy" or place != self._next or len(self._copies) >= COPIES_MAX:
            self.end()
            self._begin("copy", place)
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
