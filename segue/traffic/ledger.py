"""The account of one stream of numbered messages and their replies; pure: it is told every time and reads none."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from enum import Enum
from typing import Final

from segue.model.observation import Gap, Observation
from segue.traffic.histogram import Histogram

WAITING_MAX: Final = 1_000_000
"""Unanswered messages that are remembered; a reply to one before them counts as a duplicate."""
SHOWN_MAX: Final = 20
"""So many of the lost are told with their times."""


class Reply(Enum):
    """What a reply turned out to be."""

    FIRST = "first"
    DUPLICATE = "duplicate"
    UNKNOWN = "unknown"


class Ledger:
    """Times are wall-clock seconds; message numbers only grow."""

    def __init__(self, worst: int) -> None:
        self.sent = self.received = self.duplicated = self.reordered = 0
        self.failed = self.retried = self.broken_connections = self.lost_writes = 0
        self.own_pause_s = 0.0
        self.latencies = Histogram()
        self._worst = worst
        self._gaps: list[tuple[float, float, float]] = []
        self._waiting: dict[int, float] = {}
        self._highest_sent = self._highest_received = -1
        self._last_sent_s: float | None = None
        self._last_reply_s: float | None = None
        self._slowest_failed_s = 0.0

    @property
    def lost(self) -> int:
        return self.sent - self.received

    def unanswered_s(self) -> list[float]:
        """When the first of those were sent that got no reply."""
        return list(itertools.islice(self._waiting.values(), SHOWN_MAX))

    @property
    def waiting(self) -> bool:
        """Whether a reply may still come."""
        return bool(self._waiting)

    @property
    def longest_request_s(self) -> float:
        return max(self.latencies.latency().max_s, self._slowest_failed_s)

    def note_sent(self, number: int, at_s: float) -> None:
        if number <= self._highest_sent:
            raise ValueError(f"message {number} after message {self._highest_sent}")
        if self._last_sent_s is not None:
            self.own_pause_s = max(self.own_pause_s, at_s - self._last_sent_s)
        self.sent += 1
        self._highest_sent = number
        self._last_sent_s = at_s
        self._waiting[number] = at_s
        if len(self._waiting) > WAITING_MAX:
            del self._waiting[next(iter(self._waiting))]

    def note_reply(self, number: int, at_s: float) -> tuple[Reply, Gap | None]:
        """Account for a reply; returns the gap that the first reply to a message ended."""
        if not 0 <= number <= self._highest_sent:
            return Reply.UNKNOWN, None
        sent_s = self._waiting.pop(number, None)
        if sent_s is None:
            self.duplicated += 1
            return Reply.DUPLICATE, None
        self.received += 1
        self.reordered += number < self._highest_received
        self._highest_received = max(number, self._highest_received)
        self.latencies.add(at_s - sent_s)
        return Reply.FIRST, self._end_gap(at_s)

    def note_failed(self, number: int, at_s: float) -> None:
        """The reply was wrong, or is waited for no longer; one that still comes is a duplicate."""
        self.failed += 1
        sent_s = self._waiting.pop(number, at_s)
        self._slowest_failed_s = max(self._slowest_failed_s, at_s - sent_s)

    def close(self, at_s: float) -> Gap | None:
        """The probe waits no longer; returns the gap until `at_s` when the last messages stayed unanswered."""
        if self._last_sent_s is None or self._last_reply_s is None or self._last_sent_s <= self._last_reply_s:
            return None
        return self._end_gap(at_s)

    def gaps(self) -> list[Gap]:
        """The longest gaps, the longest first."""
        return [Gap(start, end) for _, start, end in sorted(self._gaps, reverse=True)]

    def _end_gap(self, at_s: float) -> Gap | None:
        started_s, self._last_reply_s = self._last_reply_s, max(at_s, self._last_reply_s or at_s)
        if started_s is None or at_s <= started_s:
            return None
        heapq.heappush(self._gaps, (at_s - started_s, started_s, at_s))
        if len(self._gaps) > self._worst:
            heapq.heappop(self._gaps)
        return Gap(started_s, at_s)


def observation(
    probe: str, target: str, started_s: float, ended_s: float, ledgers: Iterable[Ledger], worst: int
) -> Observation:
    """The accounts of all connections of a probe as one."""
    books = list(ledgers)
    latencies = Histogram()
    for book in books:
        latencies.include(book.latencies)
    gaps = sorted((gap for book in books for gap in book.gaps()), key=lambda gap: gap.length_s, reverse=True)
    packets = probe == "udp"
    return Observation(
        probe=probe,
        target=target,
        started_s=started_s,
        ended_s=ended_s,
        sent=sum(book.sent for book in books),
        received=sum(book.received for book in books),
        lost=sum(book.lost for book in books),
        lost_sent_s=tuple(sorted(at_s for book in books for at_s in book.unanswered_s())[:SHOWN_MAX]),
        duplicated=sum(book.duplicated for book in books),
        reordered=sum(book.reordered for book in books),
        failed=sum(book.failed for book in books),
        retried=sum(book.retried for book in books),
        broken_connections=sum(book.broken_connections for book in books),
        lost_writes=sum(book.lost_writes for book in books),
        longest_gap_s=gaps[0].length_s if gaps else 0.0,
        longest_request_s=0.0 if packets else max(book.longest_request_s for book in books),
        own_pause_s=max(book.own_pause_s for book in books) if packets else 0.0,
        latency=latencies.latency(),
        gaps=tuple(gaps[:worst]),
    )
