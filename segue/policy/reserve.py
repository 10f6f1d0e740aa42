"""Which guests would find no place if their host died now: the reserve that a fleet has, or lacks. Pure.

It reckons with one host at a time, and must never count room that the dead host itself would have to give.
"""

from __future__ import annotations

from segue.model.fleet import Fleet
from segue.policy.board import Board


def lacking(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """By the host: its guests that no other could take in after its death, the most important first."""
    board = Board(fleet)
    found = {there.name: _homeless(board, host) for host, there in enumerate(board.hosts)}
    return {host: names for host, names in found.items() if names}


def _homeless(board: Board, host: int) -> tuple[str, ...]:
    """A disk of the host's own dies with it, so its guest is not counted: room elsewhere would not help."""
    guests = [n for n in board.on[host] if not board.guests[n].needs.disk_bytes]
    guests.sort(key=lambda n: (-board.guests[n].importance, board.guests[n].name))
    board.close([host])
    left = []
    for guest in guests:
        open_ones = (there for there in range(len(board.hosts)) if board.takes(guest, there))
        heir = max(open_ones, key=lambda there: board.free(there).memory_bytes, default=None)
        if heir is None:
            left.append(board.guests[guest].name)
        else:
            board.move(guest, heir)
    board.reopen([host])
    return tuple(left)
