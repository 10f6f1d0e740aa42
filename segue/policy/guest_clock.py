"""Whether a guest's clock is put forward after a blackout, and by how much."""

from __future__ import annotations

from typing import Final

CERTAIN: Final = 0.5
"""A step is worth it only where it is surely nearer to the truth than none: its error at most half of it."""


def step_s(stood_s: float, uncertainty_s: float) -> float:
    """Seconds to put the guest's clock forward: as long as it stood still, or 0 to leave it alone.

    stood_s: the measured blackout; 0 where it was not measured. uncertainty_s: half of the time of one question to
    the guest's agent. Never back: a clock that jumps back breaks more in a guest than one that lags.
    """
    return stood_s if stood_s > 0 and uncertainty_s <= stood_s * CERTAIN else 0.0
