"""How often one address, or one caller, may do what costs us something: joining, guessing, being refused in the audit.

It must never keep out somebody who shows a valid certificate or token: an attacker behind the same address could.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from segue.adapters import clock
from segue.errors import Kind, Refused
from segue.policy import bucket
from segue.policy.bucket import Bucket, Rate

JOINS: Final = Rate(20, 0.5)
JOINS_ALL: Final = Rate(500, 20)
FAILURES: Final = Rate(20, 0.2)
REFUSALS: Final = Rate(20, 0.2)
KNOWN_MOST: Final = 10_000


class Limits:
    """The buckets in use; the one that was not used for longest makes room."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()

    def allows(self, what: str, who: str, rate: Rate) -> bool:
        """True where it may be done, which then counts."""
        key = (what, who)
        left, may = bucket.take(self._buckets.pop(key, None), rate, clock.steady_s())
        self._buckets[key] = left
        if len(self._buckets) > KNOWN_MOST:
            self._buckets.popitem(last=False)
        return may

    def demand_join(self, address: str) -> None:
        """Raises Refused where too many come, from there or from everywhere."""
        if not self.allows("join", address, JOINS) or not self.allows("join", "", JOINS_ALL):
            raise busy(f"{address} asks to join too often")


def busy(why: str) -> Refused:
    """Too often."""
    return Refused(what="the call is refused", why=why, todo="Wait a minute.", kind=Kind.BUSY)
