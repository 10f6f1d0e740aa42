"""Whether a host that is not heard of any more is fenced: second opinions in, a word and its reason out. Pure.

It must never call for the fencing of a host of which anybody has a sign of life, nor of many at once: then the
network, or whoever asks, is what broke.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from segue.model.fencing import Sight

LOST_S: Final = 5.0
"""A host gives a sign of life every 2 s (`BEAT_S`): two are missing, and half of the next."""
TOGETHER_S: Final = 2.5
"""Who is silent for so long when another one is lost may have fallen silent with it: their last signs of life were up
to a beat apart (3 s are left of `LOST_S`), and one was a little late. Of a rack that is away the first would be lost
alone otherwise, and fenced; and once that is proved the next one would be."""
SHARE: Final = 4
"""At most one host of so many is fenced without a person, and always one."""


class Word(StrEnum):
    """What is done."""

    NOTHING = "nothing"  # it is well, or has nothing that could be saved
    WAIT = "wait"  # it is not lost for long enough
    HOLD = "hold"  # it is lost, and must not be fenced by itself: a person is told
    FENCE = "fence"


@dataclass(frozen=True)
class Loss:
    """What is known. silent_s: since its last sign of life. guests: that should run there. sights: of those that
    were asked and answered, the controller's own with them. lost, fleet: hosts that are lost now, or fell silent with
    it (`TOGETHER_S`), of how many."""

    silent_s: float
    guests: int
    sights: Mapping[str, Sight]
    lost: int
    fleet: int
    upkeep: bool = False
    """It is being worked on: a maintenance runs a command there, or reboots it."""
    awaited: bool = False
    """Guests of other hosts cannot start before it has said that it has nothing of them, or is proved to be off."""
    is_off: bool = False
    """Its BMC says so by itself: no order is given, and it is not the network."""


def judge(loss: Loss) -> tuple[Word, str]:
    """The word, and the sentence for people."""
    if loss.guests == 0 and not loss.awaited:
        return Word.NOTHING, "no guest should run there"
    if loss.silent_s < LOST_S:
        return Word.WAIT, f"silent for {loss.silent_s:.1f} s"
    if why := _held(loss):
        return Word.HOLD, why
    said = f"silent for {loss.silent_s:.1f} s; {', '.join(sorted(loss.sights))} do not see it either"
    writes = sorted(who for who, sight in loss.sights.items() if sight is Sight.STORAGE)
    if writes:
        said += f"; it lives, and its network is cut: {', '.join(writes)} see its heartbeat on the storage"
    return Word.FENCE, said


def _held(loss: Loss) -> str:
    alive = sorted(who for who, sight in loss.sights.items() if sight is Sight.ANSWERS)
    if alive:
        return f"it answers {', '.join(alive)}: its agent, or the way to it, is what broke"
    if loss.upkeep:
        return "a maintenance works on it: it may be about to come back"
    if loss.lost > at_most(loss.fleet) and (loss.guests or not loss.is_off):
        return f"{loss.lost} of {loss.fleet} hosts are lost at once: that looks like the network"
    if not loss.sights.keys() - {CONTROLLER}:
        return "no other host could be asked whether it sees it"
    return ""


def at_most(fleet: int) -> int:
    """So many hosts are fenced at a time without a person."""
    return max(1, fleet // SHARE)


CONTROLLER: Final = "the controller"
