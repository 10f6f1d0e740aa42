"""The right to lead the fleet: who has it, under which epoch, and until when he may act on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from segue.errors import Kind, Refused
from segue.model.store import Fence, Lease

HOLDER: Final = "leader/holder"
"""Bound to the leader's lease. It is written once by each leader, so its revision stands for the whole tenure."""
EPOCH: Final = "leader/epoch"
"""The last leader epoch; it stays when the leader goes."""


@dataclass(frozen=True)
class Leader:
    """What stands under HOLDER."""

    name: str
    epoch: int
    since_s: float
    """Wall clock of the leader; only to be shown."""


@dataclass(frozen=True)
class Tenure:
    """One candidate's time as leader.

    `epoch` goes with every command to an agent, `fence` with every commit to the store.
    """

    name: str
    epoch: int
    fence: Fence
    lease: Lease
    confirmed_s: float
    """When the last keep-alive was sent that was confirmed, on the leader's own steady clock."""


class NotLeading(Refused):
    """Nothing was done: this controller does not lead, or cannot know that it still does."""

    def __init__(self, name: str) -> None:
        super().__init__(
            what=f"{name} does not act",
            why="it does not lead the fleet, or the store did not confirm in time that it still does",
            todo="Ask the controller that leads; another takes over within seconds.",
            kind=Kind.CONFLICT,
        )
