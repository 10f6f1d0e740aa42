"""Says whether an application that ended by itself is started again, and how long that is waited with."""

from __future__ import annotations

from typing import Final

from segue.model.application import Restart

FIRST_S: Final = 1.0
MOST_S: Final = 60.0
CALM_S: Final = 60.0
"""One that ran for so long has not failed at its start: what was before does not count any more."""


def wait_s(policy: Restart, status: int | None, failures: int) -> float | None:
    """Seconds until it is started again; None where it is not. Each failure doubles them.

    status: of its end, negative for a signal, None where nobody knows: that is no success.
    failures: starts before this one that did not last CALM_S.
    """
    if policy is Restart.NO or (policy is Restart.ON_FAILURE and status == 0):
        return None
    return float(min(MOST_S, FIRST_S * 2 ** min(failures, 16)))


def failures_that_count(failures: int, ran_s: float) -> int:
    """Of those before a start that lasted so many seconds."""
    return 0 if ran_s >= CALM_S else failures
