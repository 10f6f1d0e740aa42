"""Chooses channels and compression before a copy begins: QEMU cannot change them while it copies.

To begin a copy again with another shape would throw away what was copied, for a guest that already writes faster than
the path takes; so the forecast decides, at once, and what it could not foresee is left to the throttle.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from segue.model.ladder import Rung, Shape
from segue.model.migration import Forecast, Limits

BUSY_SHARE: Final = 0.4
"""A guest that writes less than this share of the path's speed fits without help (rounds shrink by 60 %)."""
THROTTLE_SHARE: Final = 0.25
"""A guest that writes less is caught up with, and if it begins to write more there is post-copy, or another try."""
ZSTD_BYTES_PER_S: Final = 200_000_000
"""What one processor compresses at level 1; a faster path is better used without."""
CHANNELS_MOST: Final = 4
"""Of several connections each page is a TLS record of its own; of one, its header of 8 bytes is another. That is half
of the work for both hosts, for a small guest and a slow path, too (our lab, two processors: an idle guest of 256 MB
moves in 1.6 s and not in 2.6, one of 1 GB in 3.9 s and not in 7.3)."""


def choose(foreseen: Forecast, limits: Limits, cpus: int) -> Shape:
    """What the ladder allows and the forecast asks for. cpus: processors of the source."""
    return replace(_connections(foreseen, limits, cpus), throttle=may_throttle(foreseen, limits))


def may_throttle(foreseen: Forecast, limits: Limits) -> bool:
    """Whether the copy begins with auto-converge, which cannot be switched on later.

    Not for a calm guest: auto-converge reads the bitmap by a timer of its own (QEMU 9.2 and newer). On a path that is
    dead that timer waits for the copy, and with it all that QEMU's main loop does for the guest; under TCG it can also
    outlive the copy (see adapters/qemu/leftover.py).
    """
    busy = foreseen.dirty_bytes_per_s >= THROTTLE_SHARE * foreseen.link_bytes_per_s
    return busy and Rung.THROTTLE in limits.ladder


def within(shape: Shape, limits: Limits) -> Limits:
    """The limits with the rungs that this copy can climb."""
    if shape.throttle:
        return limits
    return replace(limits, ladder=tuple(rung for rung in limits.ladder if rung is not Rung.THROTTLE))


def _connections(foreseen: Forecast, limits: Limits, cpus: int) -> Shape:
    if limits.on_demand:
        return Shape(post_copy=True, reason="its memory is put in place once it runs there")
    if limits.post_copy:
        # QEMU 10.0: "Postcopy is not yet compatible with multifd".
        return Shape(post_copy=True, reason="post-copy needs a single connection")
    busy = foreseen.dirty_bytes_per_s >= BUSY_SHARE * foreseen.link_bytes_per_s
    channels = max(1, min(CHANNELS_MOST, cpus))
    if Rung.COMPRESS in limits.ladder and busy and foreseen.link_bytes_per_s < ZSTD_BYTES_PER_S * channels:
        written = f"{foreseen.dirty_bytes_per_s / 1e6:.0f} MB/s"
        taken = f"{foreseen.link_bytes_per_s / 1e6:.0f} MB/s"
        return Shape(channels, "zstd", f"it writes {written} and the path takes {taken}")
    if Rung.CHANNELS in limits.ladder and channels > 1:
        return Shape(channels, "", "half of the work of a single connection")
    return Shape()
