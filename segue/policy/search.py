"""Finds the moves that lower imbalance most, one after the other. Fast, as it looks at few targets, and the right ones.

Every host keeps its best move in a heap; after a move only those that it touched are looked at again. Targets are
sorted by how little they are loaded, one list for each kind of host, so that a full or unfit host is never looked at.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from segue.policy.board import NOWHERE, Board, Four
from segue.policy.imbalance import Imbalance

RESORT_SHARE: Final = 0.125
"""After moves of so many hosts' worth the slopes have changed: targets are sorted anew."""


@dataclass(frozen=True)
class Breadth:
    """How many are looked at before one is chosen."""

    guests: int = 8
    """Of each source, those whose leaving relieves it most."""
    targets: int = 8
    """Of each kind of host, those that are loaded least."""
    tries: int = 64
    """Targets that are full or forbidden are passed over, up to so many."""
    exact: bool = False
    """Every guest of a source with every host, by the score itself: for few hosts, where slopes say little."""
    good_enough: float = 1.0
    """A move is made if it is worth this share of what the best one was worth when it was last looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """A move that would help. gain: exact; worth: gain less what the move costs."""

    guest: int
    source: int
    target: int
    gain: float
    worth: float


class Search:
    """One descent.

    price: (guest, target or None while it is not known) -> what the move must gain at least; None: it must not move.
    may_go: (guest, target) -> False where the caller forbids what the board would allow.
    """

    def __init__(
        self,
        board: Board,
        imbalance: Imbalance,
        price: Callable[[int, int | None], float | None],
        may_go: Callable[[int, int], bool],
        *,
        worth_least: float = 0.0,
        breadth: Breadth | None = None,
    ) -> None:
        self._board, self._imbalance = board, imbalance
        self._price, self._may_go = price, may_go
        self._worth_least = worth_least
        self._breadth = breadth or Breadth()
        self._slopes, self._means = imbalance.slopes()
        self._sorted: dict[int, list[tuple[float, int]]] = {}
        self._stress: list[float] = []
        self._weigh: Four = (0.0, 0.0, 0.0, 0.0)

    def moves(self) -> Iterator[Found]:
        """Moves, each already made on the board, until none is worth it. The caller may stop at any."""
        while True:
            found = False
            for move in self._pass():
                found = True
                yield move
            if not found:
                return

    def _pass(self) -> Iterator[Found]:
        """Until no host that had a move that helps has one left."""
        self._sort()
        heap: list[tuple[float, int]] = []
        for source, is_open in enumerate(self._board.open):
            if is_open and (best := self._best(source)):
                heap.append((-best.worth, source))
        heapq.heapify(heap)
        resort_in = max(8, int(RESORT_SHARE * self._imbalance.hosts))
        while heap:
            _, source = heapq.heappop(heap)
            best = self._best(source)
            if best is None:
                continue
            if heap and -heap[0][0] * self._breadth.good_enough > best.worth:
                heapq.heappush(heap, (-best.worth, source))
                continue
            self._make(best)
            yield best
            resort_in -= 1
            if not resort_in:
                resort_in = max(8, int(RESORT_SHARE * self._imbalance.hosts))
                self._sort()
            for touched in (best.source, best.target):
                if again := self._best(touched):
                    heapq.heappush(heap, (-again.worth, touched))

    def _make(self, move: Found) -> None:
        self._imbalance.shift(move.guest, move.target)
        self._board.move(move.guest, move.target)
        self._slopes, self._means = self._imbalance.slopes()
        for host in (move.source, move.target):
            self._resort(host)

    def _best(self, source: int) -> Found | None:
        """The move off this host that is worth most."""
        if self._breadth.exact:
            return self._best_of_all(source)
        best: Found | None = None
        for relief, guest in self._relieving(source)[: self._breadth.guests]:
            target = self._target(guest, relief - (best.worth if best else self._worth_least))
            if target is None:
                continue
            gain = self._imbalance.gain(guest, target)
            worth = gain - (self._price(guest, target) or 0.0)
            if worth > (best.worth if best else self._worth_least):
                best = Found(guest, source, target, gain, worth)
        return best

    def _best_of_all(self, source: int) -> Found | None:
        best: Found | None = None
        for guest in sorted(self._board.on[source]):
            if self._price(guest, None) is None:
                continue
            for target in range(len(self._board.hosts)):
                if not self._board.takes(guest, target) or not self._may_go(guest, target):
                    continue
                gain = self._imbalance.gain(guest, target)
                worth = gain - (self._price(guest, target) or 0.0)
                if worth > (best.worth if best else self._worth_least):
                    best = Found(guest, source, target, gain, worth)
        return best

    def _relieving(self, source: int) -> list[tuple[float, int]]:
        """Guests that may go, with what their going alone is worth; the most first."""
        board = self._board
        k0, k1, k2, k3 = self._slopes
        m0, m1, m2, m3 = self._means
        s0, s1, s2, s3 = board.share[source]
        o0, o1, o2, o3 = board.inverse[source]
        d0, d1, d2, d3 = 2 * (s0 - m0), 2 * (s1 - m1), 2 * (s2 - m2), 2 * (s3 - m3)
        found = []
        for guest in board.on[source]:
            price = self._price(guest, None)
            if price is None:
                continue
            a0, a1, a2, a3 = board.demand[guest]
            x0, x1, x2, x3 = a0 * o0, a1 * o1, a2 * o2, a3 * o3
            relief = k0 * x0 * (d0 - x0) + k1 * x1 * (d1 - x1) + k2 * x2 * (d2 - x2) + k3 * x3 * (d3 - x3)
            found.append((relief - price, guest))
        found.sort(reverse=True)
        return found

    def _target(self, guest: int, burden_most: float) -> int | None:
        """The host that may take it and is burdened least by it, if that is less than burden_most."""
        board = self._board
        k0, k1, k2, k3 = self._slopes
        m0, m1, m2, m3 = self._means
        a0, a1, a2, a3 = board.demand[guest]
        best = None
        for kind in board.kinds_for(guest):
            left, tries = self._breadth.targets, self._breadth.tries
            for _, target in self._sorted.get(kind, ()):
                s0, s1, s2, s3 = board.share[target]
                o0, o1, o2, o3 = board.inverse[target]
                x0, x1, x2, x3 = a0 * o0, a1 * o1, a2 * o2, a3 * o3
                burden = (
                    k0 * x0 * (2 * (s0 - m0) + x0)
                    + k1 * x1 * (2 * (s1 - m1) + x1)
                    + k2 * x2 * (2 * (s2 - m2) + x2)
                    + k3 * x3 * (2 * (s3 - m3) + x3)
                )
                if burden < burden_most:
                    if not (board.takes(guest, target) and self._may_go(guest, target)):
                        tries -= 1
                        if tries:
                            continue
                        break
                    best, burden_most = target, burden
                left -= 1
                if not left:
                    break
        return best

    def _sort(self) -> None:
        """All open hosts by stress: what a typical guest would add to the score there."""
        self._slopes, self._means = self._imbalance.slopes()
        self._weigh = self._typical()
        self._sorted = {}
        self._stress = [self._stress_of(host) for host in range(len(self._board.hosts))]
        for host, is_open in enumerate(self._board.open):
            if is_open:
                self._sorted.setdefault(self._board.host_kind[host], []).append((self._stress[host], host))
        for hosts in self._sorted.values():
            hosts.sort()

    def _resort(self, host: int) -> None:
        hosts = self._sorted[self._board.host_kind[host]]
        del hosts[bisect_left(hosts, (self._stress[host], host))]
        self._stress[host] = self._stress_of(host)
        insort(hosts, (self._stress[host], host))

    def _typical(self) -> Four:
        """Slope times what a guest takes on average of a host, in each of the four."""
        guests = sum(at != NOWHERE for at in self._board.at) or 1
        per_guest = self._imbalance.hosts / guests
        k, m = self._slopes, self._means
        return (
            k[0] * m[0] * per_guest,
            k[1] * m[1] * per_guest,
            k[2] * m[2] * per_guest,
            k[3] * m[3] * per_guest,
        )

    def _stress_of(self, host: int) -> float:
        s0, s1, s2, s3 = self._board.share[host]
        w0, w1, w2, w3 = self._weigh
        return w0 * s0 + w1 * s1 + w2 * s2 + w3 * s3
