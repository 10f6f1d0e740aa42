"""The rungs that a migration may climb when its guest writes too fast, and the policies that name them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Rung(StrEnum):
    """What may be done so that a guest fits into its budget. To abort is always the last rung, and unnamed."""

    WAIT = "wait"
    """For a moment in which little is left to copy."""
    CHANNELS = "channels"
    """More connections. QEMU fixes them at the start of a copy, so they are chosen from the forecast."""
    COMPRESS = "compress"
    """zstd. Fixed at the start of a copy, too."""
    THROTTLE = "throttle"
    """The guest's processors are slowed down, never more than `slowdown_max`."""
    POST_COPY = "post-copy"
    """The guest moves first and its memory after it."""


class OverBudget(StrEnum):
    """What happens when the time is up and the pause would be longer than the budget."""

    ABORT = "abort"
    ACCEPT = "accept"


LADDERS: Final[Mapping[str, tuple[Rung, ...]]] = {
    "gentle": (Rung.WAIT, Rung.COMPRESS, Rung.CHANNELS),
    "balanced": (Rung.WAIT, Rung.CHANNELS, Rung.COMPRESS, Rung.THROTTLE),
    "firm": (Rung.WAIT, Rung.THROTTLE, Rung.POST_COPY),
}
"""Policies by name. With post-copy there is one connection and nothing is compressed: QEMU 10.0 wants it so."""


@dataclass(frozen=True)
class Shape:
    """What QEMU wants to know before a copy begins and never lets go of: both sides need the same."""

    channels: int = 0
    """Connections beside the main one; 0 means one connection for everything."""
    compression: str = ""
    """'zstd', or empty for none."""
    reason: str = ""
    throttle: bool = False
    """The source may slow the guest down; only where the forecast asks for it, see policy/shape.py."""
    post_copy: bool = False
    """The guest may run on the target before all of its memory is there."""
