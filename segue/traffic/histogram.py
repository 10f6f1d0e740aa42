"""Percentiles of durations in a fixed amount of memory; it keeps no samples and knows no clock."""

from __future__ import annotations

import math
from collections import Counter
from typing import Final

from segue.model.observation import Latency

STEP: Final = math.log(1.01)
"""Neighbouring buckets differ by 1 percent: 2,000 of them reach from a microsecond to an hour."""
SHORTEST_S: Final = 1e-6


class Histogram:
    """Durations counted by size."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._max_s = 0.0

    def add(self, duration_s: float) -> None:
        self._buckets[math.ceil(math.log(max(duration_s, SHORTEST_S)) / STEP)] += 1
        self._max_s = max(self._max_s, duration_s)

    def include(self, other: Histogram) -> None:
        self._buckets.update(other._buckets)
        self._max_s = max(self._max_s, other._max_s)

    def latency(self) -> Latency:
        return Latency(
            self.quantile_s(0.5),
            self.quantile_s(0.9),
            self.quantile_s(0.99),
            self.quantile_s(0.999),
            self._max_s,
        )

    def quantile_s(self, share: float) -> float:
        """The shortest duration that `share` of all do not exceed; 0 where there are none."""
        wanted = math.ceil(share * self._buckets.total())
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                # A bucket's upper edge may lie above everything in it.
                return min(math.exp(bucket * STEP), self._max_s)
        return 0.0
