"""How long a guest wrote nothing to its disk while a case was played, as a client sees it. A measure, no verdict."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

LOOK_S = 0.2
Count = Callable[[], float]
"""Something of the guest that grows for as long as it lives. Raises OSError, ValueError while it does not answer."""


@dataclass
class Standing:
    """`longest_s` is exact to about two looks."""

    longest_s: float = 0.0
    _seen: float = -1.0
    _since_s: float = 0.0

    def see(self, count: float, now_s: float) -> None:
        """What it counts at that time; a guest that began anew counts from zero."""
        if self._seen >= 0:
            self.longest_s = max(self.longest_s, now_s - self._since_s)
        if count != self._seen:
            self._seen, self._since_s = count, now_s


@contextmanager
def watched(count: Count | None) -> Iterator[Standing]:
    """Looks for as long as the block lasts."""
    found, end = Standing(), threading.Event()
    if count is None:
        yield found
        return

    def look() -> None:
        while not end.is_set():
            # It stands, or does not answer: the next count tells for how long.
            with suppress(OSError, ValueError):
                found.see(count(), time.monotonic())
            end.wait(LOOK_S)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        end.set()
        thread.join()
