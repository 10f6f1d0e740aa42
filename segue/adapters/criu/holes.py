"""Which pages of one process are not in place yet, and where each lies until it is; it puts none there itself.

Places are addresses in bytes, whole pages. Property tests hold it against a plain table of pages.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Hole:
    """Neighbours that lie one after the other in one file, too."""

    start: int
    end: int
    file: int
    offset: int
    """Where the first of them lies in the file."""

    def part(self, start: int, end: int) -> Hole:
        """What of it is between these addresses."""
        first, last = max(start, self.start), min(end, self.end)
        return Hole(first, last, self.file, self.offset + first - self.start)


class Holes:
    """Those of one process, in order."""

    def __init__(self, holes: Iterable[Hole] = ()) -> None:
        self._holes = sorted(holes, key=_start)

    def __bool__(self) -> bool:
        return bool(self._holes)

    def __iter__(self) -> Iterator[Hole]:
        return iter(tuple(self._holes))

    def within(self, start: int, end: int) -> list[Hole]:
        """The parts of them that lie there."""
        first = max(0, bisect_right(self._holes, start, key=_start) - 1)
        found = []
        for hole in self._holes[first:]:
            if hole.start >= end:
                break
            if hole.end > start:
                found.append(hole.part(start, end))
        return found

    def cut(self, start: int, end: int) -> list[Hole]:
        """Those that lie there are none any more; which they were."""
        if not (gone := self.within(start, end)):
            return []
        first = max(0, bisect_right(self._holes, start, key=_start) - 1)
        if self._holes[first].end <= start:
            first += 1
        last = first + len(gone)
        head, tail = self._holes[first], self._holes[last - 1]
        kept = [head.part(head.start, start)] if head.start < start else []
        kept += [tail.part(end, tail.end)] if tail.end > end else []
        self._holes[first:last] = kept
        return gone

    def move(self, start: int, to: int, length: int) -> None:
        """The process has moved this part of its memory (mremap(2)); what was at its new place is gone."""
        moved = self.cut(start, start + length)
        self.cut(to, to + length)
        for hole in moved:
            shifted = replace(hole, start=hole.start - start + to, end=hole.end - start + to)
            self._holes.insert(bisect_right(self._holes, shifted.start, key=_start), shifted)

    def copy(self) -> Holes:
        """Those of a process that was forked from this one."""
        return Holes(self._holes)


def _start(hole: Hole) -> int:
    return hole.start
