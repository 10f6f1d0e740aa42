"""The probe's clock: wall-clock seconds that no step of the system's clock disturbs while the probe runs."""

from __future__ import annotations

import time


class Clock:
    """Runs with the monotonic clock from the moment that it was made."""

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()

    def now_s(self) -> float:
        return time.monotonic() + self._offset_s
