"""How often something may be done: a bucket that fills steadily and that each time takes from. Pure: no clock."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """`burst` times at once, and `per_s` in the long run."""

    burst: float
    per_s: float


@dataclass(frozen=True)
class Bucket:
    """What is left in it, and when that was."""

    left: float
    at_s: float


def take(bucket: Bucket | None, rate: Rate, now_s: float) -> tuple[Bucket, bool]:
    """The bucket afterwards, and whether it may be done. A clock that was set back fills nothing."""
    left = rate.burst
    if bucket is not None:
        left = min(rate.burst, bucket.left + max(0.0, now_s - bucket.at_s) * rate.per_s)
    return (Bucket(left - 1, now_s), True) if left >= 1 else (Bucket(left, now_s), False)
