"""Finds the moves that lower imbalance most, one after the other. Fast, as it looks at few targets, and the right ones.

Every host keeps its best move in a heap; after a move only those that it touched are looked at again. Targets are
sorted by how little they are loaded, one list for each kind of host, so that a full or unfit host is never looked at.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from segue.policy.board import NOWHERE, Board, Four
from segue.policy.imbalance import Imbalance

UNKNOWN: Final = -1.0
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
    polish: bool = False
    """Exact at the end, when slopes find nothing more."""
    fresh: int = 1
    """Before each move the best of so many sources are looked at again: what others did has changed their worth."""
    good_enough: float = 1.0
    """A move is made if it is worth this share of what the best one was worth when it was last looked at."""


@dataclass(frozen=True, slots=True)
class Found:
    """A move that would help. gain: exact; worth: gain less what the move costs.

    A guest that the search has moved already may be moved on: `origin` is where it really is, and where it may stay.
    """

    guest: int
    origin: int
    source: int
    target: int
    gain: float
    worth: float


class Search:
    """One descent.

    price: (guest, target or None while it is not known) -> what the move must gain at least; None: it must not move.
    price_again: what it must gain to send a guest elsewhere that the search has moved before.
    may_go: (guest, target) -> False where the caller forbids what the board would allow.
    """

    def __init__(
        self,
        board: Board,
        imbalance: Imbalance,
        price: Callable[[int, int | None], float | None],
        price_again: float,
        may_go: Callable[[int, int], bool],
        breadth: Breadth,
    ) -> None:
        self._board, self._imbalance = board, imbalance
        self._price, self._price_again, self._may_go = price, price_again, may_go
        self._breadth = breadth
        self._origin: dict[int, int] = {}
        self._heap: list[tuple[float, int]] = []
        self._worth: dict[int, float] = {}
        """What each source was worth when it was looked at last; other entries of the heap are void."""
        self._tolls: list[float | None] = [UNKNOWN] * len(board.guests)
        """What each guest's move must gain while no target is known."""
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
            if not found and (self._breadth.exact or not self._breadth.polish):
                return
            if not found:
                self._breadth = replace(self._breadth, exact=True, fresh=1)

    def _pass(self) -> Iterator[Found]:
        """Until no host that had a move that helps has one left."""
        self._sort()
        self._heap, self._worth = [], {}
        for source, is_open in enumerate(self._board.open):
            if is_open:
                self._offer(source, self._best(source))
        resort_in = max(8, int(RESORT_SHARE * self._imbalance.hosts))
        while move := self._next():
            self._make(move)
            yield move
            resort_in -= 1
            if not resort_in:
                resort_in = max(8, int(RESORT_SHARE * self._imbalance.hosts))
                self._sort()
            for touched in (move.source, move.target):
                self._offer(touched, self._best(touched))

    def _offer(self, source: int, best: Found | None) -> None:
        """What a source has to offer now; what it had before is void."""
        if best is None:
            self._worth.pop(source, None)
        else:
            self._worth[source] = best.worth
            heapq.heappush(self._heap, (-best.worth, source))

    def _next(self) -> Found | None:
        """The best of the sources that looked best, looked at again; the others go back."""
        looked_at: dict[int, Found | None] = {}
        chosen: Found | None = None
        while self._heap:
            worth, source = -self._heap[0][0], self._heap[0][1]
            enough = len(looked_at) >= self._breadth.fresh
            if enough and chosen and chosen.worth >= worth * self._breadth.good_enough:
                break
            heapq.heappop(self._heap)
            if self._worth.get(source) != worth or source in looked_at:
                continue
            found = looked_at[source] = self._best(source)
            if found and (chosen is None or found.worth > chosen.worth):
                chosen = found
        for source, found in looked_at.items():
            if found is not chosen:
                self._offer(source, found)
        return chosen

    def _make(self, move: Found) -> None:
        self._imbalance.shift(move.guest, move.target)
        if self._origin.pop(move.guest, None) is not None:
            self._board.undo(move.guest)
        if move.target != move.origin:
            self._board.move(move.guest, move.target)
            self._origin[move.guest] = move.origin
        self._tolls[move.guest] = UNKNOWN if move.target == move.origin else self._price_again
        self._slopes, self._means = self._imbalance.slopes()
        for host in (move.source, move.target):
            self._resort(host)

    def _best(self, source: int) -> Found | None:
        """The move off this host that is worth most."""
        if self._breadth.exact:
            pairs = ((g, t) for g in sorted(self._board.on[source]) for t in range(len(self._board.hosts)))
            return self._better(source, ((g, t) for g, t in pairs if t != source and self._may(g, t)), None)
        best: Found | None = None
        for relief, guest in self._relieving(source)[: self._breadth.guests]:
            target = self._target(guest, relief - (best.worth if best else 0.0))
            if target is not None:
                best = self._better(source, [(guest, target)], best)
        return best

    def _better(self, source: int, pairs: Iterable[tuple[int, int]], best: Found | None) -> Found | None:
        """The best of these (guest, target) and of what was found so far, by the exact gain."""
        for guest, target in pairs:
            if self._tolls[guest] == UNKNOWN:
                self._tolls[guest] = self._price(guest, None)
            if self._tolls[guest] is None:
                continue
            price = self._price_again if guest in self._origin else self._price(guest, target) or 0.0
            gain = self._imbalance.gain(guest, target)
            if gain - price > (best.worth if best else 0.0):
                origin = self._origin.get(guest, source)
                best = Found(guest, origin, source, target, gain, gain - price)
        return best

    def _may(self, guest: int, target: int) -> bool:
        """A guest that was moved by the search frees what it takes where it was to go."""
        origin = self._origin.get(guest)
        if origin is None:
            return self._board.takes(guest, target) and self._may_go(guest, target)
        if target == origin:
            return True
        meant = self._board.at[guest]
        self._board.undo(guest)
        takes = self._board.takes(guest, target) and self._may_go(guest, target)
        self._board.move(guest, meant)
        return takes

    def _relieving(self, source: int) -> list[tuple[float, int]]:
        """Guests that may go, with what their going alone is worth; the most first."""
        board = self._board
        k0, k1, k2, k3 = self._slopes
        m0, m1, m2, m3 = self._means
        s0, s1, s2, s3 = board.share[source]
        o0, o1, o2, o3 = board.inverse[source]
        d0, d1, d2, d3 = 2 * (s0 - m0), 2 * (s1 - m1), 2 * (s2 - m2), 2 * (s3 - m3)
        found, tolls = [], self._tolls
        for guest in board.on[source]:
            price = tolls[guest]
            if price == UNKNOWN:
                price = tolls[guest] = self._price(guest, None)
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
                    if target == board.at[guest] or not self._may(guest, target):
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
