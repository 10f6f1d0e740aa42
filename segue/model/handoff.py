"""The words of the handoff: what a journal says, what hosts tell each other, what is to be done.

Only nouns: the rules that use them are `segue/policy/handoff.py`, the shapes on the wire are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HERE: Final = "."
"""The peer of a guest that changes its QEMU and stays on its host: no host has that name."""


class Phase(StrEnum):
    """What the journal of one host says about one guest."""

    ABSENT = "absent"  # not here; the epoch stays as a tombstone against old messages
    OWNER = "owner"  # may run
    OFFERED = "offered"  # may run, and is copying to the peer
    RELEASED = "released"  # may never run by itself again; the peer holds this epoch
    INCOMING = "incoming"  # a copy arrives here; may not run


class Copy(StrEnum):
    """What the QEMU process on this host holds."""

    NONE = "none"
    PARTIAL = "partial"  # paused, memory not all here
    COMPLETE = "complete"  # paused and whole; also a source that stands still for the blackout
    RUNNING = "running"


@dataclass(frozen=True)
class Token:
    """The durable part, one per guest and host; `migration` is the one that led here.

    An OWNER names a peer only while that one, which gave it the guest, has not been told that it runs.
    """

    phase: Phase = Phase.ABSENT
    epoch: int = 0
    peer: str = ""
    migration: str = ""


@dataclass(frozen=True)
class Offer:
    """Source to target: take in a copy; I own this epoch."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Ask:
    """Target to source: what became of the migration you offered at this epoch?"""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Withdraw:
    """Source to target: this migration will never be granted."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Grant:
    """The token itself: the receiver owns this epoch. Also sent by a target that hands the token back."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Confirm:
    """The grant of this epoch has arrived and is journaled; put your copy away."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Created:
    """A guest that never existed before belongs to this host."""

    epoch: int = 1


@dataclass(frozen=True)
class Start:
    """Start the guest from its disk: the first start, or a restart by its owner.

    peers_highest: after a reboot of this host, the highest epoch any peer's journal holds for the guest;
    every peer must have answered since the reboot. Zero where the host was not rebooted.
    """

    peers_highest: int = 0


@dataclass(frozen=True)
class Begin:
    """Offer the guest to the peer under a migration id that was never used before.

    cold: there is no copy here, and the peer's is one that is started from the guest's disks.
    """

    peer: str
    migration: str
    cold: bool = False


@dataclass(frozen=True)
class BothComplete:
    """Source only: our QEMU is stopped and completed, and the target has said that its copy is whole.

    cold: of a migration that was begun so, and only of such a one: nothing was here, and nothing is.
    """

    migration: str = ""  # empty: the one under way
    cold: bool = False


@dataclass(frozen=True)
class GiveUp:
    """Source: take the offer back. Target: drop the copy, which does not yet settle who owns the guest."""

    migration: str = ""  # empty: the one under way


@dataclass(frozen=True)
class NeverRan:
    """Target only: QEMU will not run the copy that was just taken, and no vCPU has run since it came.

    Whoever tells this must know it: a copy that died, and may have run before, is another matter.
    """

    migration: str = ""  # empty: the one under way


@dataclass(frozen=True)
class Succeeded:
    """In place only: the predecessor has ended, and the successor is found where it was."""

    migration: str = ""  # empty: the one under way


@dataclass(frozen=True)
class PeerFenced:
    """The peer is powered off, and stays off at least until the reaction to this event is journaled.

    proof: what shows it, for the log. highest: the highest claim (`policy.handoff.claim`) of every other host
    that could hold the guest, all of which must have answered or have no power either, and the highest epoch
    that the decider itself has ever given away by a fencing. With two hosts, and no earlier fencing, zero.
    """

    peer: str
    proof: str
    highest: int = 0


@dataclass(frozen=True)
class TakeOver:
    """This host, which has nothing of the guest, is its owner from now on, and will restart it from disk.

    owner: the host that owned it, which is powered off and stays off until the reaction is journaled. epoch: by
    `policy.takeover.epoch`, from the claims of all other hosts that have power, none of which has a part in the guest.
    """

    owner: str
    proof: str
    epoch: int


@dataclass(frozen=True)
class PeerEpoch:
    """Another host says that it owns this epoch itself (`policy.handoff.owned`). Never about this host."""

    epoch: int
    owner: str


@dataclass(frozen=True)
class Outbid:
    """Another host owns this epoch, and has not run the guest since it had no power; what is here is newer
    (`policy.takeover.is_newer`): two takeovers, neither of which could know of the other."""

    epoch: int
    owner: str


Message = Offer | Ask | Withdraw | Grant | Confirm
Event = (
    Message
    | Created
    | Start
    | Begin
    | BothComplete
    | GiveUp
    | NeverRan
    | Succeeded
    | PeerFenced
    | TakeOver
    | PeerEpoch
    | Outbid
)
MESSAGES: Final[Mapping[str, type[Message]]] = {
    "offer": Offer,
    "ask": Ask,
    "withdraw": Withdraw,
    "grant": Grant,
    "confirm": Confirm,
}


@dataclass(frozen=True)
class Send:
    """Send the message to a host; it may be lost, `pending` repeats it where that matters."""

    to: str
    message: Message


@dataclass(frozen=True)
class Resume:
    """Let the vCPUs of the local, complete copy run. If that process has died, nothing else is to be done."""


@dataclass(frozen=True)
class Boot:
    """Start the guest from its disk; there is no copy here."""


@dataclass(frozen=True)
class Discard:
    """End the local QEMU process of this guest and wait until it is gone."""


@dataclass(frozen=True)
class TakePlace:
    """In place: from now on the successor is the local copy. The predecessor stands beside it, never to be run
    unless this is taken back."""


@dataclass(frozen=True)
class StepBack:
    """In place: the successor is ended, and the predecessor is the local copy, as before."""


@dataclass(frozen=True)
class Refuse:
    """The event is not allowed in this state; nothing changes."""

    reason: str


Effect = Send | Resume | Boot | Discard | TakePlace | StepBack | Refuse


@dataclass(frozen=True)
class Reaction:
    """The token to be journaled first, then the effects in order.

    again: once the effects are carried out the same event must be given again; it is not yet decided.
    """

    token: Token
    effects: tuple[Effect, ...] = ()
    again: bool = False
