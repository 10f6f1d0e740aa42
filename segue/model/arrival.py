"""A guest that runs on the target while its memory still arrives: how far that is, and what may become of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Flow(StrEnum):
    """How one side's QEMU sees the copy."""

    COPYING = "copying"  # before the switch: an ordinary copy, or none
    FLOWING = "flowing"  # after the switch: pages are served, on demand and in the background
    BROKEN = "broken"  # after the switch: the connection is gone, both QEMUs wait for another
    WHOLE = "whole"  # all memory is on the target
    GONE = "gone"  # the QEMU has ended


@dataclass(frozen=True)
class Presence:
    """The target's word about a guest of which not all memory may be there.

    loaded: its device state is there, so it could run. blocked_s: how long all its processors together stood
    and waited for pages, known once it is whole.
    """

    flow: Flow
    loaded: bool = False
    blocked_s: float = 0.0


@dataclass(frozen=True)
class Serving:
    """What the source's QEMU still has to send."""

    flow: Flow
    remaining_bytes: int = 0
    total_bytes: int = 0
    transferred_bytes: int = 0
    asked_pages: int = 0
    """Pages that the guest stood and waited for."""
    link_bytes_per_s: float = 0.0
