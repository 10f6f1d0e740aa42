"""A guest's token on one host and the words that pass it on; what they lead to is policy/handoff.py."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a host's journal says of a guest."""

    ABSENT = "absent"
    OWNER = "owner"
    OFFERED = "offered"
    RELEASED = "released"
    INCOMING = "incoming"


@dataclass(frozen=True)
class Token:
    """The durable part of the handoff, one per guest per host; written before anything is done about it."""

    phase: Phase = Phase.ABSENT
    epoch: int = 0
    peer: str = ""
    migration: str = ""


@dataclass(frozen=True)
class Offer:
    """Source to target: hold a paused copy for me."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Ask:
    """Target to source: what became of it?"""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Withdraw:
    """Source to target: drop your copy, I run it."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Grant:
    """From the one who gave the guest away: it is yours from this epoch on."""

    epoch: int
    migration: str


@dataclass(frozen=True)
class Confirm:
    """To the one who gave it away: I have it."""

    epoch: int
    migration: str


Message = Offer | Ask | Withdraw | Grant | Confirm
