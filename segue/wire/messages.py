"""How the words of the handoff travel: tagged with their name, refused when unknown."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from segue.errors import Kind, Refused
from segue.model.handoff import Ask, Confirm, Grant, Message, Offer, Withdraw

KINDS: Final[dict[str, type[Message]]] = {
    "offer": Offer,
    "ask": Ask,
    "withdraw": Withdraw,
    "grant": Grant,
    "confirm": Confirm,
}
NAMES: Final = {shape: name for name, shape in KINDS.items()}


@dataclass(frozen=True)
class Delivery:
    """The answer to a message: words that go back, and when the guest resumed if it did."""

    messages: tuple[dict[str, Any], ...] = ()
    resumed_at_s: float = 0.0
    marks: tuple[tuple[str, float], ...] = ()
    """What happened to the guest here on the way, by this host's wall clock; only to be shown."""


@dataclass(frozen=True)
class Claim:
    """What a host has of a guest; epochs, 0 for none."""

    owned: int
    highest: int
    hosts: dict[str, str] = field(default_factory=dict)
    """Name -> URL of the hosts that it knows, where the asker knows others."""


def pack(message: Message) -> dict[str, Any]:
    """The message as JSON can carry it."""
    return {"kind": NAMES[type(message)], **asdict(message)}


def unpack(frame: dict[str, Any]) -> Message:
    """The message in `frame`; Refused when it is none."""
    try:
        shape = KINDS[str(frame["kind"])]
        return shape(epoch=int(frame["epoch"]), migration=str(frame["migration"]))
    except (KeyError, TypeError, ValueError) as error:
        raise Refused(
            what="a peer's message was not understood",
            why=f"it is not a word of the handoff ({error})",
            todo="Run the same version of segue on both hosts.",
            kind=Kind.USAGE,
        ) from error
