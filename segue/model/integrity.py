"""What is compared of a guest's memory on source and target while both copies stand, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DISK_BLOCK_BYTES: Final = 1 << 20
"""Of a disk that was copied there is one digest for so much of what the guest sees."""

PROCESS_SHIFT: Final = 57
"""An application's memory lies in several processes: an offset in it is (process << PROCESS_SHIFT) + address, with the
process's number in its own name space. No processor has longer addresses."""


class Verify(StrEnum):
    """How much is compared before the guest is given away."""

    OFF = "off"
    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True)
class Blocks:
    """Parts of one migration's guest memory, each `block_bytes` long; no offsets stand for all of it."""

    migration: str
    block_bytes: int
    offsets: tuple[int, ...] = ()
    within_s: float = 2.0
    """How long the caller waits for the copy to be complete."""


@dataclass(frozen=True)
class Digests:
    """One digest for each block, in their order, and how long it took to make them."""

    values: tuple[str, ...]
    seconds: float = 0.0


@dataclass(frozen=True)
class Verification:
    """What was found equal; `seconds` of it belong to the blackout. `note` says why nothing was compared."""

    mode: Verify = Verify.OFF
    verified_bytes: int = 0
    seconds: float = 0.0
    note: str = ""
    disk_bytes: int = 0
    """Of disks that were copied, as the guest sees them."""
