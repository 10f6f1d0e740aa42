"""Foresees how long a migration and its blackout will take, from figures measured just before."""

from __future__ import annotations

from typing import Final

from segue.model.migration import Forecast
from segue.policy.convergence import EAGER_S, FIXED_BLACKOUT_S

FIXED_TOTAL_S: Final = 1.6
"""Empty guest started, tunnel made, late frames awaited, source retired (our lab: 1.3 to 2.0 s)."""
ROUNDS_MAX: Final = 30
HANDOFF_S: Final = 0.004
"""Two journal writes and one message between the agents (our lab: 2 to 8 ms)."""
SPREAD: Final = 0.35
"""Measured figures of a busy host vary by about a third from one second to the next."""


def forecast(
    resident_bytes: int,
    dirty_bytes_per_s: float,
    link_bytes_per_s: float,
    budget_s: float,
    round_trip_s: float,
) -> Forecast:
    """Geometric rounds of pre-copy: each sends what was written during the one before.

    resident_bytes: guest memory that is really held; dirty_bytes_per_s: QMP calc-dirty-rate;
    link_bytes_per_s: a short probe over the path; round_trip_s: between the agents.
    Formula: Clark et al., Live Migration of Virtual Machines, NSDI 2005, section 3.
    """
    rest, spent_s, rounds = float(resident_bytes), 0.0, 0
    while rounds < ROUNDS_MAX:
        round_s = rest / link_bytes_per_s
        spent_s += round_s
        rounds += 1
        left = min(dirty_bytes_per_s * round_s, float(resident_bytes))
        if left / link_bytes_per_s <= EAGER_S or left >= rest * 0.98:
            rest = left
            break
        rest = left
    blackout_s = FIXED_BLACKOUT_S + HANDOFF_S + round_trip_s + rest / link_bytes_per_s
    total_s = FIXED_TOTAL_S + spent_s + blackout_s
    return Forecast(
        total_s=total_s,
        total_low_s=total_s * (1 - SPREAD),
        total_high_s=total_s * (1 + SPREAD),
        blackout_s=blackout_s,
        blackout_low_s=blackout_s * (1 - SPREAD),
        blackout_high_s=blackout_s * (1 + 2 * SPREAD),
        memory_bytes=resident_bytes,
        dirty_bytes_per_s=dirty_bytes_per_s,
        link_bytes_per_s=link_bytes_per_s,
        converges=blackout_s <= budget_s,
        basis=f"{rounds} rounds foreseen",
    )
