"""Which pages of a dumped application may be put in place after it runs, and where each of them lies until then. It
reads CRIU's images and marks such pages in them; it puts none in place.

CRIU hands a process's faults to whoever listens (userfaultfd) for the memory that it calls lazy: private, anonymous,
not locked (criu/mem.c, vma_entry_can_be_lazy). Less than that is chosen here, and CRIU restores the rest itself.
"""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from segue.adapters.criu import areas, images, pagemap
from segue.adapters.criu.holes import Hole
from segue.adapters.criu.pagemap import LAZY, PAGE_BYTES, PREFIX, PRESENT
from segue.adapters.criu.pages import file_of
from segue.adapters.criu.stock import FOLDER

NEEDED: Final = mmap.MAP_ANONYMOUS | mmap.MAP_PRIVATE
GROWSDOWN, LOCKED, HUGETLB = 0x100, 0x2000, 0x40000
"""mman.h: of mappings."""
OWN: Final = 1 << 2 | 1 << 3 | 1 << 12 | 1 << 13
"""criu/include/image.h: VMA_AREA_VSYSCALL, _VDSO, _VVAR, _AIORING."""
STACK_PAGES: Final = 4
"""Around where a thread stands: CRIU itself writes there before anybody answers for it."""
Core: Final = images.entry_type(
    {
        "Registers": {"sp": (20, images.NUMBER)},
        "Info": {"registers": (2, "Registers")},
        "Core": {"info": (2, "Info")},
    }
)
"""criu/images/core.proto, core-x86.proto"""


@dataclass(frozen=True)
class Areas:
    """Of one process: parts of its memory, in order, as (first page, the one after the last)."""

    lazy: tuple[tuple[int, int], ...]

    def runs(self, first: int, count: int) -> Iterator[tuple[bool, int]]:
        """Of so many pages, whether they may come later: (flag, how many)."""
        at, end = first, first + count
        number = max(0, bisect_right(self.lazy, at, key=lambda area: area[0]) - 1)
        for begin, stop in self.lazy[number:]:
            if begin >= end:
                break
            if stop <= at:
                continue
            if begin > at:
                yield False, begin - at
                at = begin
            yield True, min(stop, end) - at
            at = min(stop, end)
        if at < end:
            yield False, end - at


def mark(folder: Path) -> None:
    """Marks in the images what may come later, and nothing else. Raises OSError, ValueError."""
    for pid, found in _areas(folder).items():
        path = folder / f"{PREFIX}{pid}.img"
        if path.exists():
            image = pagemap.parsed(path.read_bytes(), path.name)
            path.write_bytes(image.lazy(found.runs))


def holes(folder: Path, pid: int) -> Iterator[Hole]:
    """Of one process, what CRIU leaves out; the files stay open. Raises OSError, ValueError."""
    path = folder / f"{PREFIX}{pid}.img"
    image = pagemap.parsed(path.read_bytes(), path.name)
    own, earlier = folder / file_of(image.pages_id), -1
    above = folder / FOLDER / path.name
    file = os.open(own, os.O_RDONLY | os.O_CLOEXEC)
    if above.exists():
        space = pagemap.parsed(above.read_bytes(), above.name).pages_id
        earlier = os.open(folder / FOLDER / file_of(space), os.O_RDONLY | os.O_CLOEXEC)
    for entry, count, at in image.pieces():
        if not entry.HasField("flags") or not entry.flags & LAZY:
            continue
        end = entry.vaddr + count * PAGE_BYTES
        is_own = bool(entry.flags & PRESENT)
        yield Hole(entry.vaddr, end, file if is_own else earlier, at if is_own else entry.vaddr)


def _areas(folder: Path) -> dict[int, Areas]:
    """By process. Memory that two of them have at the same addresses may be one that both write only in copies (fork):
    CRIU makes it one again, as long as it has its pages."""
    spaces = {int(pid): found for pid, found in areas.by_process(folder).items()}
    seen: dict[tuple[int, int], int] = {}
    for space in spaces.values():
        for area in space:
            seen[area.start, area.end] = seen.get((area.start, area.end), 0) + 1
    stacks = _stacks(folder)
    made = {}
    for pid, space in spaces.items():
        lazy = [
            (area.start // PAGE_BYTES, area.end // PAGE_BYTES)
            for area in space
            if _may(area) and seen[area.start, area.end] == 1
        ]
        made[pid] = Areas(tuple(_without(lazy, stacks)))
    return made


def _may(area: Any) -> bool:
    flags = area.flags
    return flags & NEEDED == NEEDED and not flags & (GROWSDOWN | LOCKED | HUGETLB) and not area.status & OWN


def _stacks(folder: Path) -> tuple[int, ...]:
    """The pages where threads stand, in order; of all processes together, as a few more cost nothing."""
    found = set()
    for path in folder.glob("core-*.img"):
        for entry in images.entries(path.read_bytes(), path.name):
            found.add(images.decoded(Core, entry, path.name).info.registers.sp // PAGE_BYTES)
    return tuple(sorted(found))


def _without(parts: Sequence[tuple[int, int]], stacks: Sequence[int]) -> Iterator[tuple[int, int]]:
    for first, end in parts:
        at = first
        for page in stacks:
            begin, stop = page - STACK_PAGES, page + STACK_PAGES + 1
            if stop <= at or begin >= end:
                continue
            if begin > at:
                yield at, begin
            at = max(at, stop)
        if at < end:
            yield at, end
