"""What the threads of one probe share: when to stop, whether anything was heard, and whom to tell."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Final, Protocol

from segue.model.observation import Gap
from segue.traffic.clock import Clock
from segue.traffic.ledger import Ledger

SLICE_S: Final = 0.05
"""How long a thread may be deaf to the word that the probe is to stop."""


class Worker(Protocol):
    """One thread of traffic; `excuse` says why nothing right was heard so far."""

    ledger: Ledger
    excuse: str

    def run(self) -> None: ...


class Session:
    """`on_heard` and `on_gap` are called in the threads of the workers."""

    def __init__(
        self,
        *,
        gap_s: float,
        drain_s: float,
        worst: int,
        on_heard: Callable[[], None],
        on_gap: Callable[[Gap], None],
    ) -> None:
        self.clock = Clock()
        self.worst = worst
        self.stopping = threading.Event()
        self.heard = threading.Event()
        self.stopped_s = math.inf
        self.abandoned = False
        self._gap_s = gap_s
        self._drain_s = drain_s
        self._on_heard = on_heard
        self._on_gap = on_gap

    def stop(self) -> None:
        """Nothing more is sent; what is on its way may still come back."""
        self.stopped_s = min(self.stopped_s, self.clock.now_s())
        self.stopping.set()

    def abandon(self) -> None:
        """Nobody wants to know any more: end without waiting for anything, and tell nobody."""
        self.abandoned = True
        self._drain_s = 0.0
        self.stop()

    def left_s(self) -> float:
        """How long replies are waited for from now on; without end while the probe is not to stop."""
        return self.stopped_s + self._drain_s - self.clock.now_s()

    def note_reply(self, gap: Gap | None) -> None:
        """A right reply came, and ended this gap."""
        if self.abandoned:
            return
        if not self.heard.is_set():
            self.heard.set()
            self._on_heard()
        self.note_gap(gap)

    def note_gap(self, gap: Gap | None) -> None:
        if gap is not None and not self.abandoned and gap.length_s > self._gap_s:
            self._on_gap(gap)
