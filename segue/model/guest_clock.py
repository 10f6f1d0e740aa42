"""What was done to a guest's clock after its blackout."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClockStep:
    """The guest's wall clock lagged by `lag_s` and was put forward by `stepped_s`; `note` says why it was not."""

    lag_s: float = 0.0
    stepped_s: float = 0.0
    uncertainty_s: float = 0.0
    note: str = ""
