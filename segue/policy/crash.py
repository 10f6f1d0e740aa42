"""What is done about a guest that crashed on a living host: restarted now, later, or left; and when it counts as hung.

Numbers in, a decision out. It must never let a guest restart more often than its operator allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from segue.model.crash import SORT, Cause, Deed, OnCrash

HOUR_S: Final = 3600.0
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
SILENT_S: Final = 60.0
"""A guest agent answers within milliseconds; a guest that swaps or is emulated may take some seconds."""
DEAF_S: Final = 30.0
"""QMP answers within a millisecond; a QEMU whose storage hangs may take longer, and comes back by itself."""


ELSEWHERE_S: Final = 30.0
"""After so long without a word from a controller it is restarted here: one that leads anew gathers for 10 s, and an
answer for one guest takes 5 s at most."""


def faults(wish: OnCrash) -> Iterator[str]:
    """What is wrong with a policy."""
    if not 0 <= wish.per_hour <= 100:
        yield f"{wish.per_hour} restarts within an hour are not between 0 and 100"
    if wish.host is Deed.ELSEWHERE:
        yield "a guest whose host is lost is restarted elsewhere by `host=restart`"
    if wish.unmovable is Deed.RESTART:
        yield "what cannot be moved from a failing host is left there, or started elsewhere: unmovable=leave|elsewhere"


def goes_elsewhere(wish: OnCrash) -> bool:
    """True where some crash of it is answered on another host while its own lives."""
    return Deed.ELSEWHERE in {wish.wanted(cause) for cause in SORT}


@dataclass(frozen=True)
class Answer:
    """The deed, how long it waits, and why."""

    deed: Deed
    wait_s: float
    why: str


def answer(cause: Cause, wish: OnCrash, restarts_s: Iterable[float], now_s: float) -> Answer:
    """restarts_s: when the guest was restarted before, by the wall clock; those of the last hour count."""
    if cause not in SORT:
        return Answer(
            Deed.LEAVE, 0.0, "a person says when it starts from its disks, as after a loss of power"
        )
    if wish.wanted(cause) is Deed.LEAVE:
        return Answer(Deed.LEAVE, 0.0, f"its policy for {SORT[cause]} is to leave it")
    lately = sum(now_s - at_s < HOUR_S for at_s in restarts_s)
    if lately >= wish.per_hour:
        return Answer(
            Deed.LEAVE, 0.0, f"it was restarted {lately} times within an hour, which is all it may be"
        )
    deed = wish.wanted(cause)
    if not lately:
        return Answer(deed, 0.0, "its first restart within an hour")
    wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (lately - 1))
    return Answer(deed, wait_s, f"it was restarted {lately} times within an hour: {wait_s:g} s of rest first")


def is_due(due_s: float, now_s: float) -> bool:
    """True where it is time for what was decided; both by the wall clock, 0: nothing was.

    Nothing waits longer than LONGEST_WAIT_S: where more than that is left the clock was set back, and a guest would
    stand until it has come there again.
    """
    return due_s > 0 and not now_s < due_s <= now_s + LONGEST_WAIT_S


@dataclass(frozen=True)
class Pulse:
    """One look at a running guest. moved: a sum that changes with each disk request and each frame that it sends."""

    at_s: float
    answers: bool
    moved: int


@dataclass(frozen=True)
class Vitals:
    """What the looks at one guest since its start amount to. Times by a steady clock."""

    spoke: bool = False
    """Its guest agent has answered once: from then on its silence means something."""
    alive_s: float = 0.0
    """The last sign of life."""
    seen_s: float = 0.0
    """The last look."""
    moved: int = -1


def felt(vitals: Vitals, pulse: Pulse) -> Vitals:
    """With one more look. A guest agent that was stopped alone leaves a guest that still sends or writes."""
    lives = pulse.answers or pulse.moved != vitals.moved
    alive_s = pulse.at_s if lives else vitals.alive_s
    return Vitals(vitals.spoke or pulse.answers, alive_s, pulse.at_s, pulse.moved)


def is_silent(vitals: Vitals, silent_s: float = SILENT_S) -> bool:
    """True for a guest whose agent once spoke, and that gave no sign of life for so long while it was looked at."""
    return vitals.spoke and vitals.seen_s - vitals.alive_s >= silent_s
