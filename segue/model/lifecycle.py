"""The stages of one migration as one table; code looks up here and never re-decides."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Stage(StrEnum):
    """Where a migration stands; the last four are ends."""

    PREPARATION = "preparation"
    BLACKOUT = "blackout"
    POST_BLACKOUT = "post_blackout"
    DONE = "done"
    ABORTED = "aborted"
    LOST = "lost"


class Event(StrEnum):
    """What moves a migration from one stage to the next."""

    CONVERGED = "converged"
    FAILED = "failed"
    HANDED_OFF = "handed_off"
    RETURNED = "returned"
    GUEST_ENDED = "guest_ended"
    SETTLED = "settled"


NEXT: Final[Mapping[tuple[Stage, Event], Stage]] = {
    (Stage.PREPARATION, Event.CONVERGED): Stage.BLACKOUT,
    (Stage.PREPARATION, Event.FAILED): Stage.ABORTED,
    (Stage.PREPARATION, Event.GUEST_ENDED): Stage.LOST,  # the guest itself ended on the source
    (Stage.BLACKOUT, Event.FAILED): Stage.ABORTED,  # the guest resumes on the source
    (Stage.BLACKOUT, Event.GUEST_ENDED): Stage.LOST,
    (Stage.BLACKOUT, Event.RETURNED): Stage.ABORTED,  # the target never ran and gave the token back
    (Stage.BLACKOUT, Event.HANDED_OFF): Stage.POST_BLACKOUT,  # no way back from here
    (Stage.POST_BLACKOUT, Event.SETTLED): Stage.DONE,
    (
        Stage.POST_BLACKOUT,
        Event.GUEST_ENDED,
    ): Stage.LOST,  # post-copy: its memory was on two hosts, one half is gone
}

ENDS: Final = frozenset({Stage.DONE, Stage.ABORTED, Stage.LOST})


def advance(stage: Stage, event: Event) -> Stage:
    """The stage after `event`; KeyError for a pair that the table does not have."""
    return NEXT[stage, event]


def diagram() -> str:
    """The table as a Mermaid state diagram, for docs/reference/stages.md."""
    lines = [f"    {a.value} --> {b.value}: {event.value}" for (a, event), b in NEXT.items()]
    ends = [f"    {end.value} --> [*]" for end in sorted(ENDS)]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {Stage.PREPARATION.value}", *lines, *ends])
