"""What every peer of the benchmark is asked for, and what it says of one move."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Protocol

DEADLINE_S: Final = 20.0
"""A guest that has not moved by then stays where it is: that is a sample, too."""


@dataclass(frozen=True)
class Move:
    """Wall-clock seconds of the machine; both hosts of the lab have the same clock.

    stopped_at_s: QEMU's own time of STOP at the source; resumed_at_s: of RESUME at the target.
    """

    begun_s: float
    stopped_at_s: float
    resumed_at_s: float
    ended_s: float
    details: dict[str, Any] = field(default_factory=dict)
    moved: bool = True


def stayed(begun_s: float, ended_s: float, why: str) -> Move:
    """A guest that was not moved within its deadline and runs on at its source."""
    return Move(begun_s, 0.0, 0.0, ended_s, {"why": why}, moved=False)


class Peer(Protocol):
    """One way of moving a guest of its own. `name` is the variant as the report calls it."""

    name: str

    @property
    def guest_name(self) -> str:
        """The name of its guest, as its QEMU has it."""
        ...

    @property
    def address(self) -> str:
        """Where a client reaches its guest."""
        ...

    @property
    def host(self) -> str:
        """Where its guest runs."""
        ...

    def move(self, to: str) -> Move:
        """Moves the guest and returns when everything is done."""
        ...
