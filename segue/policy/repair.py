"""Finds room for guests that a first pass could not place: by placing others differently, or by moving some away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from segue.model.fleet import Amounts, FleetGuest
from segue.policy.board import Board

NODES_MOST: Final = 20_000
"""So many placements are tried one by one; where there are no more, the result is the best there is."""
HOSTS_LOOKED_AT: Final = 64
Placed = tuple[tuple[int, int], ...]
"""(importance, guests of it that are placed), the most important first."""


def group_fits(board: Board, guest: int, host: int) -> bool:
    """Where guests must stay together, the first of them only goes where there is room for all that follow."""
    companions = board.spread.companions(guest)
    if len(companions) == 1:
        return True
    follow = [g for g in companions if board.at[g] >= 0 and not board.open[board.at[g]]]
    return board.has_room_for_all(follow or [guest], host)


def reassign(board: Board, left: Sequence[int], leaving: Mapping[int, int]) -> list[int]:
    """Places more of `left` by giving others of this plan another target. Returns all that are without one then."""
    still = [guest for guest in left if not _eject(board, guest, leaving)]
    if still:
        _exhaust(board, leaving)
    return [guest for guest, source in leaving.items() if board.at[guest] == source]


def make_room(board: Board, left: Sequence[int], moved: Collection[int]) -> dict[int, int]:
    """Moves guests of other hosts away so that one of `left` fits once they are gone: guest -> the host that it leaves.

    A host is emptied for one guest only, and takes none in for others' sake: what is freed is there for its guest.
    """
    away: dict[int, int] = {}
    promised: set[int] = set()
    for guest in left:
        for host in _nearly(board, guest, promised):
            found = _one_away(board, guest, host, promised, {*moved, *away})
            if found is not None:
                away[found] = host
                promised.add(host)
                break
    return away


def _eject(board: Board, guest: int, leaving: Mapping[int, int]) -> bool:
    """One that this plan sends to a host goes elsewhere, and the guest takes its place."""
    for host in _suitable(board, guest):
        for other in [g for g in board.on[host] if g in leaving and leaving[g] != host]:
            if board.guests[other].importance > board.guests[guest].importance:
                continue
            board.undo(other)
            if board.takes(guest, host) and group_fits(board, guest, host):
                board.move(guest, host)
                for elsewhere in _suitable(board, other):
                    if board.takes(other, elsewhere) and group_fits(board, other, elsewhere):
                        board.move(other, elsewhere)
                        return True
                board.undo(guest)
            board.move(other, host)
    return False


def _exhaust(board: Board, leaving: Mapping[int, int]) -> None:
    """Tries every placement of all that leave, if there are few enough; keeps the best."""
    hosts = [host for host, is_open in enumerate(board.open) if is_open]
    if (len(hosts) + 1) ** len(leaving) > NODES_MOST:
        return
    order = sorted(leaving, key=lambda g: (-board.guests[g].importance, g))
    best = {guest: board.at[guest] for guest in order}
    best_value = _value(board, [g for g in order if best[g] != leaving[g]])
    for guest in order:
        if board.at[guest] != leaving[guest]:
            board.undo(guest)

    def extend(index: int) -> Iterator[dict[int, int]]:
        if index == len(order):
            yield {guest: board.at[guest] for guest in order}
            return
        guest = order[index]
        for host in hosts:
            if board.takes(guest, host):
                board.move(guest, host)
                yield from extend(index + 1)
                board.undo(guest)
        yield from extend(index + 1)

    for found in extend(0):
        value = _value(board, [g for g in order if found[g] != leaving[g]])
        if value > best_value:
            best, best_value = found, value
    for guest, host in best.items():
        if host != leaving[guest]:
            board.move(guest, host)


def _value(board: Board, placed: Sequence[int]) -> Placed:
    counts = Counter(board.guests[guest].importance for guest in placed)
    return tuple(sorted(counts.items(), reverse=True))


def _suitable(board: Board, guest: int) -> list[int]:
    """Open hosts that suit it, the emptiest first; not all of them in a large fleet."""
    found = [h for h, is_open in enumerate(board.open) if is_open and board.suits(guest, h)]
    found.sort(key=lambda host: -board.free(host).memory_bytes)
    return found[:HOSTS_LOOKED_AT]


def _nearly(board: Board, guest: int, promised: Collection[int]) -> Iterator[int]:
    """Hosts that suit the guest and are short of least."""
    return (host for host in _suitable(board, guest) if host not in promised)


def _one_away(
    board: Board, guest: int, host: int, promised: Collection[int], moved: Collection[int]
) -> int | None:
    """A guest of that host whose leaving makes room, moved to where it may be; None where there is none.

    One that must stay with others does not leave them for that.
    """
    if not board.spread.allows(guest, board.at[guest], host):
        return None
    for other in sorted(board.on[host], key=lambda g: board.guests[g].copied_bytes):
        spec = board.guests[other]
        if (
            other in moved
            or spec.pinned
            or spec.moving_to
            or spec.importance > board.guests[guest].importance
            or len(board.spread.companions(other)) > 1
        ):
            continue
        if not _covers(board.guests[guest], spec, board.free(host)):
            continue
        for elsewhere in _suitable(board, other):
            if elsewhere != host and elsewhere not in promised and board.takes(other, elsewhere):
                board.move(other, elsewhere)
                return other
    return None


def _covers(guest: FleetGuest, other: FleetGuest, free: Amounts) -> bool:
    """True if the guest fits once the other one is gone."""
    needs, gone = guest.needs, other.needs
    return (
        needs.memory_bytes <= free.memory_bytes + gone.memory_bytes
        and needs.vcpus <= free.vcpus + gone.vcpus
        and needs.disk_bytes <= free.disk_bytes + gone.disk_bytes
        and needs.network_bytes_per_s <= free.network_bytes_per_s + gone.network_bytes_per_s
    )
