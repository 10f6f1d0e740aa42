"""Carries a balancer's plan on while the fleet changes: which of its moves may begin now, and which are off, and why.

A plan is kept as it was shown. A move that is not right any more is left out, never replaced: the next plan will know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from segue.model.balance import PlannedMove, Weights
from segue.model.fleet import Fleet
from segue.policy.board import Board
from segue.policy.imbalance import Imbalance


@dataclass(frozen=True)
class Sorted:
    """The moves that were left, sorted."""

    ready: tuple[PlannedMove, ...] = ()
    off: dict[str, str] = field(default_factory=dict)
    """guest -> why it is not moved."""


def sort_out(
    fleet: Fleet, left: Sequence[PlannedMove], under_way: Sequence[PlannedMove], weights: Weights
) -> Sorted:
    """left: moves of the plan that were neither begun nor given up.

    Moves of a later wave count on room that earlier ones leave: they wait until none of those is left or under way.
    """
    board = Board(fleet)
    numbers = {guest.name: number for number, guest in enumerate(fleet.guests)}
    first = min((move.wave for move in (*left, *under_way)), default=0)
    waiting, off = list[tuple[PlannedMove, int]](), dict[str, str]()
    for move in left:
        guest = numbers.get(move.guest)
        if reason := "it is not there any more" if guest is None else _elsewhere(board, guest, move):
            off[move.guest] = reason
        elif guest is not None and move.wave == first:
            waiting.append((move, guest))
    for move, guest in _refused(board, waiting):
        off[move.guest] = f"{move.target}: {', '.join(board.refusals(guest, board.host_number[move.target]))}"
    ready = [move for move, _ in waiting if move.guest not in off]
    levelling = [move for move in ready if not move.mends]
    if levelling and _gain(fleet, ready, weights) <= 0:
        off |= {move.guest: "the moves that are left would gain nothing any more" for move in levelling}
    return Sorted(tuple(move for move in ready if move.guest not in off), off)


def _refused(board: Board, wave: Sequence[tuple[PlannedMove, int]]) -> Sequence[tuple[PlannedMove, int]]:
    """Those of a wave that cannot begin, once all others are where they go to. A rule that keeps a group together may
    take one in only once others of it are; room is none the sooner for them, as none is free before a move is over."""
    left = wave
    while True:
        waiting = []
        for move, guest in left:
            if board.takes(guest, target := board.host_number[move.target]):
                board.move(guest, target)
            else:
                waiting.append((move, guest))
        if len(waiting) == len(left):
            return waiting
        left = waiting


def _gain(fleet: Fleet, moves: Sequence[PlannedMove], weights: Weights) -> float:
    """Of all that level together, counted from where guests will be that are on their way or have to move anyway."""
    landed = (replace(guest, host=guest.moving_to or guest.host, moving_to="") for guest in fleet.guests)
    board = Board(replace(fleet, guests=tuple(landed)))
    imbalance = Imbalance(board, weights)
    numbers = {guest.name: number for number, guest in enumerate(board.guests)}

    def score(moves: Iterable[PlannedMove]) -> float:
        for move in moves:
            guest, target = numbers[move.guest], board.host_number[move.target]
            imbalance.shift(guest, target)
            board.move(guest, target)
        return imbalance.score()

    before = score(move for move in moves if move.mends)
    return before - score(move for move in moves if not move.mends)


def _elsewhere(board: Board, guest: int, move: PlannedMove) -> str:
    """Why the move can never be made as it was planned; empty where it may be."""
    spec, target = board.guests[guest], board.host_number.get(move.target)
    if spec.host != move.source:
        return f"it is on {spec.host or 'no host'} now, not on {move.source}"
    if spec.moving_to:
        return f"it is on its way to {spec.moving_to}"
    if spec.pinned:
        return f"it must not move: {spec.pinned}"
    if target is None or not board.open[target]:
        return f"{move.target} takes nothing in any more"
    return ""
