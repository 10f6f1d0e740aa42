"""Says what is wrong with an operator's limits before anything is begun."""

from __future__ import annotations

from segue.model.integrity import Verify
from segue.model.migration import Limits


def wrong(limits: Limits) -> tuple[str, ...]:
    """Every reason why nothing could keep these limits; empty for good ones."""
    found = []
    if not limits.blackout_s > 0:
        found.append("the blackout's budget must be more than 0 s")
    if not limits.deadline_s > limits.blackout_s:
        found.append("the deadline must be longer than the blackout's budget")
    if not limits.stall_s > 0:
        found.append("the time without progress must be more than 0 s")
    if limits.bandwidth_bytes_per_s < 0:
        found.append("the bandwidth must not be negative")
    if not 0 <= limits.slowdown_max <= 0.99:
        found.append("a guest can be slowed down by 0 % to 99 %")
    if limits.post_copy and limits.verify is Verify.FULL:
        found.append("a guest that may run before its memory is there cannot be compared in full")
    if limits.post_copy_after < -1:
        found.append("post-copy can begin after 0 rounds or more")
    return tuple(found)
