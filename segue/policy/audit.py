"""Answers for every host and every failure domain: could it be emptied now, how long would it take, and if not, why?"""

from __future__ import annotations

from collections.abc import Iterator

from segue.model.fleet import HOST_DOMAIN, Fleet
from segue.model.plan import Drainable, Plan
from segue.policy import drain
from segue.policy.board import Board
from segue.policy.drain import Drain, Orders
from segue.policy.timetable import Roads


def audit(fleet: Fleet, orders: Orders | None = None) -> Iterator[Drainable]:
    """One answer for each, as if nothing else was emptied: hosts first, then the domains by label and value."""
    orders = orders or Orders()
    board, roads = Board(fleet), Roads(fleet, orders.slots)
    for label in (HOST_DOMAIN, *fleet.failure_domains):
        members: dict[str, list[str]] = {}
        for host in fleet.hosts:
            members.setdefault(host.domain(label), []).append(host.name)
        for value in sorted(members.keys() - {""}):
            hosts = tuple(members[value])
            made = _simple(board, hosts, orders, roads) or drain.plan(fleet, hosts, orders)
            yield _answer(label, value, hosts, made)


def _simple(board: Board, hosts: tuple[str, ...], orders: Orders, roads: Roads) -> Plan | None:
    """On a board that all answers share: to set a large fleet up for each host would take most of the time."""
    numbers = [board.host_number[name] for name in hosts]
    board.close(numbers)
    made = Drain(board, sorted(hosts), orders, roads).plan_simply()
    board.reopen(numbers)
    return made


def _answer(label: str, value: str, hosts: tuple[str, ...], made: Plan) -> Drainable:
    return Drainable(
        label,
        value,
        hosts,
        moves=len(made.moves),
        total_s=made.total_s,
        blackout_s=max((move.outlook.blackout_s for move in made.moves), default=0.0),
        staying=made.staying,
    )
