"""How much memory is compared, and whether there is time for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segue.model.integrity import PROCESS_SHIFT

PAGE_BYTES: Final = 4096
BLOCK_BYTES: Final = 1 << 20
"""One digest for so much in a full comparison: 64 GiB give 65,536 of them, about 2 MB."""
SAMPLE_PAGES: Final = 32
SAMPLE_SHARE: Final = 0.01
"""The part of the blackout budget that reading a sample may cost."""
PAGE_S: Final = 8e-6
"""To read and digest one page (our lab: 5 to 7 microseconds with SHA-256 in the processor)."""
FULL_SHARE: Final = 0.7
"""The part of the blackout budget that a full comparison may be foreseen to take; the rest is the blackout."""


def sample_pages(budget_s: float) -> int:
    """Pages to compare in normal operation: a bounded number, and less where the pause has to be very short."""
    return max(1, min(SAMPLE_PAGES, int(budget_s * SAMPLE_SHARE / PAGE_S)))


def full_s(resident_bytes: int, bytes_per_s: float) -> float:
    """Seconds for which a comparison of all memory holds the guest; both hosts read at the same time.

    resident_bytes: what the guest really holds, holes cost nothing; bytes_per_s: measured on this host just before.
    """
    return resident_bytes / bytes_per_s


def full_fits(seconds: float, budget_s: float) -> bool:
    """Whether a full comparison leaves the blackout its part of the budget."""
    return seconds <= budget_s * FULL_SHARE


def offsets(memory_bytes: int, block_bytes: int) -> range:
    """Where the blocks of the whole memory begin; the last may be shorter."""
    return range(0, memory_bytes, block_bytes)


def differing(at: Sequence[int], ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, ...]:
    """The offsets of the blocks that are not equal; where an answer is short, what it lacks counts as different."""
    padded = (*theirs, *("" for _ in range(len(ours) - len(theirs))))
    return tuple(offset for offset, a, b in zip(at, ours, padded, strict=False) if a != b)


def name(first: int, end: int) -> str:
    """A range as people say it; `end` is the byte after the last."""
    process, address = first >> PROCESS_SHIFT, first & ((1 << PROCESS_SHIFT) - 1)
    said = f"{address:#x} to {address + end - first - 1:#x}"
    return f"{said} of process {process}" if process else said


def ranges(at: Sequence[int], block_bytes: int) -> tuple[tuple[int, int], ...]:
    """Neighbouring blocks as (first byte, byte after the last)."""
    found: list[tuple[int, int]] = []
    for offset in sorted(at):
        if found and found[-1][1] == offset:
            found[-1] = (found[-1][0], offset + block_bytes)
        else:
            found.append((offset, offset + block_bytes))
    return tuple(found)
