"""How long a migration waits for the guest to get ready. Numbers in, seconds out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from segue.model.notice import Subscription

SUBSCRIPTIONS_MAX: Final = 16
"""More programs than this in one guest are refused: what a guest can make the host keep is bounded."""


def wait_s(notice_s: float, subscriptions: Sequence[Subscription], most_s: float) -> float:
    """Seconds from the announcement until the guest is moved, if nobody answers before.

    notice_s: the operator's wish, 0 for none; most_s: the host's limit for what guests may ask for, not for the
    operator. A guest in which nobody registered is never waited for.
    """
    if not subscriptions:
        return 0.0
    asked_s = min(max(one.lead_s for one in subscriptions), most_s)
    return notice_s if notice_s > 0 else max(asked_s, 0.0)
