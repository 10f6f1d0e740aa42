"""Decides at each look at a post-copy what the source does: serve on, let go of a dead path, mend it, or end it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from segue.model.arrival import Flow, Presence, Serving

STALL_S: Final = 5.0
"""Nothing at all was sent for this long while there was something to send: the path is dead. The kernel would find
out after a quarter of an hour (tcp(7), tcp_retries2). To let go of a path that was only slow does no harm: the
copy goes on over another connection."""


FIRST_S: Final = 0.15
"""So long after it runs there a guest gets nothing but what it asks for: then a page takes it 0.3 ms, and 2 ms where
others are on their way (our lab, 1 Gbit/s, two processors)."""
GENTLE_S: Final = 2.0
"""A guest asks for most of what it uses in its first second or two."""
GENTLE: Final = 0.5
"""Of the path's speed, while it asks for much. With all of it a client waits for 0.55 s, with half for 0.3 s."""
STEADY: Final = 0.9
"""Then: the guest should not need two hosts for long; a path that is not full has no queue for a page to wait in."""
LOOK_LEAST_S: Final = 0.1


class Duty(StrEnum):
    """What the source does next."""

    SERVE = "serve"
    LET_GO = "let_go"  # of a connection over which nothing comes
    RECONNECT = "reconnect"
    WAIT = "wait"  # the path is broken, and the target does not answer
    FINISH = "finish"  # all memory is there
    DECLARE_LOST = "declare_lost"  # the memory here is gone, so the guest there is
    MOURN = "mourn"  # the guest there is gone, so the memory here is of no use


def duty(here: Serving, there: Presence | None, stalled_s: float) -> Duty:
    """The next duty. there: None when the target's agent gave no answer; stalled_s: since bytes last moved.

    A target without the guest's QEMU is believed only where ours has not finished: what is whole there may have
    ended since, for reasons of its own.
    """
    if here.flow is Flow.WHOLE:
        return Duty.FINISH
    if here.flow not in {Flow.FLOWING, Flow.BROKEN}:
        # Its QEMU ended, or is another one than the one that gave the guest away.
        return Duty.FINISH if there is not None and there.flow is Flow.WHOLE else Duty.DECLARE_LOST
    if there is not None and there.flow is Flow.GONE:
        return Duty.MOURN
    if here.flow is Flow.BROKEN:
        return Duty.WAIT if there is None else Duty.RECONNECT
    if there is not None and there.flow is Flow.BROKEN:
        return Duty.LET_GO
    return Duty.LET_GO if stalled_s >= STALL_S else Duty.SERVE


def background_bytes_per_s(path_bytes_per_s: float, cap_bytes_per_s: int, since_s: float) -> int:
    """How fast memory follows that the guest has not asked for, `since_s` after it began to run; 0 for no limit.

    path_bytes_per_s: 0 where it was not measured; cap_bytes_per_s: the operator's, 0 for none.
    """
    share = GENTLE if since_s < GENTLE_S else STEADY
    return min(filter(None, (int(share * path_bytes_per_s), cap_bytes_per_s)), default=0)


def look_in_s(remaining_bytes: int, bytes_per_s: int, longest_s: float) -> float:
    """When to look again: about when all will have been sent, and in `longest_s` at the latest."""
    left_s = remaining_bytes / bytes_per_s if bytes_per_s else longest_s
    return min(longest_s, max(left_s, LOOK_LEAST_S))
