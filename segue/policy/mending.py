"""Finds guests that must not be where they are: a rule is broken, or the host does not suit or has no room."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from segue.model.fleet import Spread
from segue.policy import fit, likes, reasons
from segue.policy.board import NOWHERE, Board

ENOUGH: Final = 64
"""Targets weighed for one guest, the emptiest first."""


@dataclass(frozen=True)
class Wrong:
    """One thing that is wrong, and guests any of which would put it right by leaving."""

    what: str
    guests: tuple[int, ...]
    host: int = NOWHERE
    rule: int = -1
    value: str = ""
    soft: bool = False
    """It may stay as it is: a move has to be worth it."""


def wrongs(board: Board) -> Iterator[Wrong]:
    """Everything that must not be, as the fleet is now. A move may mend more than one: the caller asks `still`."""
    yield from _misplaced(board)
    yield from _broken(board)
    for host in range(len(board.hosts)):
        if board.overfull(host):
            movable = tuple(sorted(board.on[host], key=lambda g: (board.guests[g].importance, g)))
            what = f"{board.hosts[host].name} has promised more than it has"
            yield from [Wrong(what, movable, host=host)] * len(movable)
    yield from _strained(board)


def still(board: Board, wrong: Wrong) -> bool:
    """False where moves made since have put it right."""
    if wrong.host != NOWHERE:
        return _overfull_after(board, wrong.host)
    if wrong.soft:
        guest = wrong.guests[0]
        return likes.strain(board, guest, board.at[guest]) > 0
    if wrong.rule >= 0:
        rule = board.spread.rules[wrong.rule]
        count = board.spread.now[wrong.rule].get(wrong.value, 0)
        return rule.spread is Spread.TOGETHER or count > rule.at_most
    return True


def targets(board: Board, guest: int, *, better: bool) -> list[int]:
    """Hosts that take it and are no worse for it than its own, or better in what is soft; the emptiest first."""
    now = likes.strain(board, guest, board.at[guest])
    found = [h for h in range(len(board.hosts)) if board.takes(guest, h)]
    found.sort(key=lambda host: max(board.share[host][:3]))
    strains = ((h, likes.strain(board, guest, h)) for h in found[:ENOUGH])
    return [h for h, strain in strains if strain < now or (strain == now and not better)]


def why_not(board: Board, guest: int) -> str:
    """Why it cannot be put right."""
    others = (h for h in range(len(board.hosts)) if h != board.at[guest])
    return reasons.together({board.hosts[h].name: board.refusals(guest, h) for h in others})


def _misplaced(board: Board) -> Iterator[Wrong]:
    for guest, host in enumerate(board.at):
        if host != NOWHERE and not board.suits(guest, host):
            why = ", ".join(fit.obstacles(board.guests[guest], board.hosts[host]))
            yield Wrong(
                f"{board.guests[guest].name} must not be on {board.hosts[host].name}: {why}", (guest,)
            )


def _broken(board: Board) -> Iterator[Wrong]:
    """Hard rules: of an apart rule any guest too many, of a together rule those that are not with the most."""
    for number, rule in enumerate(board.spread.rules):
        if not rule.hard:
            continue
        counts = board.spread.now[number]
        if rule.spread is Spread.TOGETHER and len(counts) > 1:
            most = max(sorted(counts), key=lambda value: counts[value])
            for guest in board.spread.members[number]:
                host = board.at[guest]
                if host != NOWHERE and board.spread.value(number, host) != most:
                    yield Wrong(
                        f"rule {rule.name} wants its group in one {rule.domain}", (guest,), rule=number
                    )
        elif rule.spread is Spread.APART:
            yield from _too_many(board, number)


def _too_many(board: Board, number: int) -> Iterator[Wrong]:
    rule = board.spread.rules[number]
    for value, count in sorted(board.spread.now[number].items()):
        if count > rule.at_most:
            there = tuple(
                g
                for g in board.spread.members[number]
                if board.at[g] != NOWHERE and board.spread.value(number, board.at[g]) == value
            )
            what = f"rule {rule.name}: {count} of its group in {rule.domain} {value}"
            yield from [Wrong(what, there, rule=number, value=value)] * (count - rule.at_most)


def _strained(board: Board) -> Iterator[Wrong]:
    """Guests for which something soft is not as it should be."""
    for guest, host in enumerate(board.at):
        if host != NOWHERE and likes.strain(board, guest, host) > 0:
            what = f"{board.guests[guest].name} would rather not be on {board.hosts[host].name}"
            yield Wrong(what, (guest,), soft=True)


def _overfull_after(board: Board, host: int) -> bool:
    """True while the host has promised too much even when all moves so far are done."""
    needs = [board.guests[guest].needs for guest in board.on[host]]
    room = fit.room(board.hosts[host])
    return (
        sum(each.memory_bytes for each in needs) > room.memory_bytes
        or sum(each.vcpus for each in needs) > room.vcpus + fit.SLACK
        or sum(each.disk_bytes for each in needs) > room.disk_bytes
        or sum(each.network_bytes_per_s for each in needs) > room.network_bytes_per_s * (1 + fit.SLACK)
    )
