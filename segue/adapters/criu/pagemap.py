"""CRIU's pagemaps: where the pages of an image belong. One whose pages came before is written anew as an image with a
parent (CRIU's own way of saying that a page lies in an earlier image); it reads and writes no page.

The parent holds a page where its address says: its file is as long as the address space, and all but empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from segue.adapters.criu import images

PREFIX: Final = "pagemap-"
PAGES: Final = "pages-"
"""CRIU's images of memory begin like that, and hold nothing else."""
SHARED: Final = "shmem-"
"""So does the name in a pagemap of memory that several share; its inode follows (criu/shmem.c)."""
PAGE_BYTES: Final = 4096
IN_PARENT, LAZY, PRESENT = 1, 2, 4
"""criu/include/pagemap.h: PE_PARENT, PE_LAZY, PE_PRESENT."""
STRETCH: Final = 1 << 30
"""Pages of one entry of a parent: CRIU counts them in an int."""
Head: Final = images.entry_type({"Head": {"pages_id": (1, images.NUMBER)}})
Entry: Final = images.entry_type(
    {
        "Page": {
            "vaddr": (1, images.NUMBER),
            "few": (2, images.NUMBER),
            "in_parent": (3, images.NUMBER),
            "flags": (4, images.NUMBER),
            "many": (5, images.NUMBER),
        }
    }
)
"""criu/images/pagemap.proto. From CRIU 4.2 on the number of pages is in `many`, before that in `few`."""


@dataclass(frozen=True)
class Pagemap:
    """One of them, read."""

    magic: bytes
    head: bytes
    pages_id: int
    """Of the file that holds the pages: one after the other, as they are named here."""
    entries: tuple[Any, ...]

    def addresses(self) -> Iterator[tuple[int, int]]:
        """(page number in the address space, how many) of those in the file."""
        for entry in self.entries:
            if _is_present(entry):
                yield entry.vaddr // PAGE_BYTES, _count(entry)

    def places(self) -> Iterator[tuple[int, int]]:
        """(page number in the address space, how many) of all, wherever they lie."""
        for entry in self.entries:
            yield entry.vaddr // PAGE_BYTES, _count(entry)

    def pieces(self) -> Iterator[tuple[Any, int, int]]:
        """(entry, its number of pages, where its first page lies in the file, of one that is there)."""
        at = 0
        for entry in self.entries:
            yield entry, _count(entry), at * PAGE_BYTES
            at += _count(entry) if _is_present(entry) else 0

    def lazy(self, may: Callable[[int, int], Iterable[tuple[bool, int]]]) -> bytes:
        """As an image in which some pages are left out by whoever restores, to be put in place later.

        may: of a stretch of pages (number of the first, how many): whether they may be, by runs (flag, how many).
        """
        made = self._packed_head()
        for entry in self.entries:
            first = 0
            for flag, count in may(entry.vaddr // PAGE_BYTES, _count(entry)):
                part = _part(entry, first, count)
                if entry.HasField("flags"):
                    part.flags = entry.flags & ~LAZY | (LAZY if flag else 0)
                made += images.packed(bytes(part.SerializeToString()))
                first += count
        return bytes(made)

    def in_parent(self) -> bytes:
        """As an image of which all pages are in the parent's."""
        made = self._packed_head()
        for entry in self.entries:
            part = _part(entry, 0, _count(entry))
            if _is_present(entry):
                part.flags = IN_PARENT
            made += images.packed(bytes(part.SerializeToString()))
        return bytes(made)

    def parent(self, pages_id: int) -> bytes:
        """The image of a parent that could hold any page of this one: as if all of them were in its file."""
        end = max((first + count for first, count in self.addresses()), default=0)
        made = bytearray(self.magic) + images.packed(Head(pages_id=pages_id).SerializeToString())
        for first in range(0, end, STRETCH):
            entry = Entry(vaddr=first * PAGE_BYTES, few=STRETCH, flags=PRESENT)
            made += images.packed(entry.SerializeToString())
        return bytes(made)

    def _packed_head(self) -> bytearray:
        return bytearray(self.magic) + images.packed(self.head)


def parsed(image: bytes, name: str) -> Pagemap:
    """What an image says. Raises ValueError."""
    found = list(images.entries(image, name))
    if not found:
        raise ValueError(f"{name} is empty")
    entries = tuple(images.decoded(Entry, entry, name) for entry in found[1:])
    pages_id = images.decoded(Head, found[0], name).pages_id
    return Pagemap(image[: images.HEAD_BYTES], found[0], pages_id, entries)


def runs(flags: bytes | bytearray) -> Iterator[tuple[int, int, int]]:
    """(flag, number of the first, how many) of neighbours of one sort."""
    begin = 0
    while begin < len(flags):
        other = flags.find(1 - flags[begin], begin)
        end = other if other >= 0 else len(flags)
        yield flags[begin], begin, end - begin
        begin = end


def _is_present(entry: Any) -> bool:
    return bool(entry.flags & PRESENT) if entry.HasField("flags") else not entry.in_parent


def _count(entry: Any) -> int:
    return int(entry.many if entry.HasField("many") else entry.few)


def _part(entry: Any, first: int, count: int) -> Any:
    part = Entry()
    part.CopyFrom(entry)
    part.vaddr = entry.vaddr + first * PAGE_BYTES
    if entry.HasField("many"):
        part.many = count
    else:
        part.few = count
    return part
