"""What would be better but must not be: soft rules, soft taints and preferred labels, as a share of a host."""

from __future__ import annotations

from typing import Final

from segue.policy.board import Board

PREFERENCE: Final = 0.1
"""A label that is not as preferred, or a soft taint: as much as a soft rule has by default."""


def strain(board: Board, guest: int, host: int) -> float:
    """What is not as it should be if the guest is there; 0 where all is well."""
    spec, there = board.guests[guest], board.hosts[host]
    total = 0.0
    if spec.prefers:
        total += PREFERENCE * sum(there.domain(label) not in values for label, values in spec.prefers.items())
    if there.taints:
        total += PREFERENCE * sum(not t.hard and t.name not in spec.tolerates for t in there.taints)
    if board.spread.of[guest]:
        broken = board.spread.broken_by(guest, board.at[guest], host)
        total += sum(rule.weight for rule in broken if not rule.hard)
    return total
