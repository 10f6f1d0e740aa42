"""How long a leader may act, and whose word counts. Numbers in, a word out; it must never read a clock.

Why two never lead: a lease lasts at least its time from the moment at which the keep-alive was *sent*. The leader
counts from that moment on its own clock, and stops a margin before the end. Another can lead only after the end. The
margin covers clocks that run at different rates, and what was begun a moment before. Where that fails (a machine that
stands still between looking at the clock and acting) the epoch tells: agents heed no lower one, the store takes no
commit with an old fence.
"""

from __future__ import annotations

from typing import Final

from segue.model.leadership import Tenure

MARGIN: Final = 0.2
"""Of the lease. Two quartz clocks differ by less than a thousandth; the rest is for what is under way."""
RENEW: Final = 0.2
"""Of the lease: three keep-alives may be lost before the leader stops."""
EPOCHS_LEFT_OUT: Final = 1_000_000
"""Added when a backup is restored: it does not know how many leaders there were since, and agents do."""


def acts_until_s(tenure: Tenure) -> float:
    """On the clock of `tenure.confirmed_s`: from then on nothing is begun."""
    return tenure.confirmed_s + tenure.lease.ttl_s * (1 - MARGIN)


def may_act(tenure: Tenure, now_s: float) -> bool:
    """now_s: the leader's own steady clock."""
    return tenure.confirmed_s <= now_s < acts_until_s(tenure)


def renews_at_s(tenure: Tenure) -> float:
    """When the next keep-alive is due, on the same clock."""
    return tenure.confirmed_s + tenure.lease.ttl_s * RENEW


def epoch_after(last: int, seen_by_agents: int = 0) -> int:
    """The epoch of a new leader. seen_by_agents: where the store was restored, they may know a higher one."""
    return max(last, seen_by_agents) + 1


def heeds(highest: int, told: int) -> bool:
    """An agent's rule: it obeys no epoch below the highest it was ever told, and none that is no epoch."""
    return told >= max(highest, 1)
