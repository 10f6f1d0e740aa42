"""Decides at each look at a post-copy what the source does: serve on, let go of a dead path, mend it, or end it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from segue.model.arrival import Flow, Presence, Serving

STALL_S: Final = 5.0
"""Nothing at all was sent for this long while there was something to send: the path is dead. The kernel would find
out after a quarter of an hour (tcp(7), tcp_retries2). To let go of a path that was only slow does no harm: the
copy goes on over another connection."""


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
