"""Divides a link among the copies that run over it: what one does not want, the others share."""

from __future__ import annotations

from collections.abc import Mapping


def shares(budget_bytes_per_s: int, caps: Mapping[str, int]) -> dict[str, int]:
    """Max-min fairness. Bytes per second for each name; a cap or a budget of 0 is none, and so is a share of 0."""
    if not budget_bytes_per_s:
        return dict(caps)
    left, found = budget_bytes_per_s, {}
    # Those that want little first: what they leave is for those that want more.
    waiting = sorted(caps, key=lambda name: (caps[name] or budget_bytes_per_s, name))
    while waiting:
        name = waiting.pop(0)
        even = left // (len(waiting) + 1)
        found[name] = max(1, min(caps[name] or even, even))
        left -= found[name]
    return found
