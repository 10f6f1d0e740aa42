"""How unevenly a fleet is loaded, as one number that a move changes by a few sums instead of a pass over all hosts.

Imbalance is the weighted sum of the standard deviations of four shares over all open hosts. A move's gain is by how
much that falls, times the number of hosts: so it is about the share of a host that is put right, whatever its size.
"""

from __future__ import annotations

from math import sqrt
from typing import Final

from segue.model.balance import Weights
from segue.policy.board import NOWHERE, Board, Four

LEAST: Final = 1e-3
"""A deviation below this is none: its slope would have no end."""


class Imbalance:
    """The sums, kept up to date by `shift`."""

    def __init__(self, board: Board, weights: Weights) -> None:
        self._board = board
        self.weights: Four = (weights.memory, weights.vcpus, weights.cpu_load, weights.network_load)
        counted = [share for share, is_open in zip(board.share, board.open, strict=True) if is_open]
        self.hosts = len(counted)
        self._sums = [sum(share[kind] for share in counted) for kind in range(4)]
        self._squares = [sum(share[kind] ** 2 for share in counted) for kind in range(4)]

    def score(self) -> float:
        """Of the fleet as it is once the moves so far are done."""
        return self._score(self._sums, self._squares)

    def gain(self, guest: int, target: int) -> float:
        """By how much the score would fall, times the number of hosts. Exact."""
        sums, squares = self._sums.copy(), self._squares.copy()
        self._shift(guest, self._board.at[guest], target, sums, squares)
        return self.hosts * (self.score() - self._score(sums, squares))

    def shift(self, guest: int, target: int) -> None:
        """Takes note of a move that the board is about to make."""
        self._shift(guest, self._board.at[guest], target, self._sums, self._squares)

    def slopes(self) -> tuple[Four, Four]:
        """(slope, mean) of each share.

        A host's share that changes by x changes the score by slope * x * (2 * (share - mean) + x), over the number of
        hosts. Right as far as a deviation is a straight line of its square: for one move, nearly.
        """
        count = self.hosts or 1
        means = [total / count for total in self._sums]
        slopes = [
            weight / (2 * max(LEAST, sqrt(max(0.0, square / count - mean * mean))))
            for weight, square, mean in zip(self.weights, self._squares, means, strict=True)
        ]
        return (slopes[0], slopes[1], slopes[2], slopes[3]), (means[0], means[1], means[2], means[3])

    def _score(self, sums: list[float], squares: list[float]) -> float:
        if not self.hosts:
            return 0.0
        total = 0.0
        for weight, sum_, square in zip(self.weights, sums, squares, strict=True):
            mean = sum_ / self.hosts
            total += weight * sqrt(max(0.0, square / self.hosts - mean * mean))
        return total

    def _shift(self, guest: int, source: int, target: int, sums: list[float], squares: list[float]) -> None:
        board = self._board
        for host, sign in ((source, -1.0), (target, 1.0)):
            if host == NOWHERE or not board.open[host]:
                continue
            share, over, amounts = board.share[host], board.inverse[host], board.demand[guest]
            for kind in range(4):
                change = sign * amounts[kind] * over[kind]
                sums[kind] += change
                squares[kind] += change * (2 * share[kind] + change)
