"""An image for a part of a host, and how far a BMC has come with bringing it there. Only nouns."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Image:
    """A file on a controller's host, as it was when it was read."""

    path: str
    size: int
    sha256: str


class FlashState(StrEnum):
    """What its task says."""

    WAITS = "waits"
    """For its turn, or for the host to be started anew."""
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    GONE = "gone"
    """The BMC knows nothing of such a task any more."""


@dataclass(frozen=True)
class Flash:
    """One look at it. text: the BMC's own words."""

    state: FlashState
    percent: int = 0
    text: str = ""
