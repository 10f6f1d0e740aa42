"""Moves that bring guests back to hosts that were maintained, and why some stay where they are. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from segue.model.fleet import Fleet
from segue.model.maintenance import HostState, Order, StepKind
from segue.model.plan import Move
from segue.policy import maintenance, outlook
from segue.policy.board import Board
from segue.policy.maintenance import Works
from segue.policy.outlook import Basis


def awaited(order: Order, works: Works) -> dict[str, str]:
    """Guests that are to go home now, and where that is."""
    return {
        guest: name
        for name, work in works.items()
        if work.state is HostState.WORKING and order.procedure[work.step].kind is StepKind.RETURN
        for guest in work.home
    }


def plan(fleet: Fleet, order: Order, works: Works) -> tuple[list[Move], dict[str, str]]:
    """(moves that may begin now, guest -> why it does not go home). One who is home is in neither."""
    if not maintenance.may_return(fleet, order, works):
        return [], {}
    homes = awaited(order, works)
    cordoned = {host.name for host in fleet.hosts if host.cordoned}
    board = Board(_open(maintenance.reserved(fleet, order, works), set(homes.values()) - cordoned))
    moves: list[Move] = []
    staying: dict[str, str] = {}
    numbers = {guest.name: number for number, guest in enumerate(fleet.guests)}
    for name, home in homes.items():
        number, host = numbers.get(name), board.host_number.get(home)
        if number is None or host is None or board.at[number] == host or fleet.guests[number].moving_to:
            continue
        if why := next(_against(board, number, host), ""):
            staying[name] = why
            continue
        spec, source = board.guests[number], board.hosts[board.at[number]]
        foreseen = outlook.of_move(spec, source, board.hosts[host], Basis())
        moves.append(Move(name, source.name, home, foreseen, why="it goes home"))
        board.move(number, host)
    return moves, staying


def is_settled(fleet: Fleet, order: Order, works: Works, staying: Mapping[str, str], home: str) -> bool:
    """True when nobody is on the way to that host any more who could be."""
    if not maintenance.may_return(fleet, order, works):
        return False
    guests = {guest.name: guest for guest in fleet.guests}
    for name, where in awaited(order, works).items():
        guest = guests.get(name)
        if where != home or guest is None:
            continue
        if guest.moving_to or (guest.host != home and name not in staying):
            return False
    return True


def _against(board: Board, guest: int, host: int) -> Iterator[str]:
    spec = board.guests[guest]
    if not spec.host:
        yield "it is nowhere"
    elif spec.pinned:
        yield f"it must not move: {spec.pinned}"
    elif not board.takes(guest, host):
        yield "; ".join(board.refusals(guest, host)) or "it has no room for it"


def _open(fleet: Fleet, homes: set[str]) -> Fleet:
    """A host of a domain is closed to guests until the last of it is done; for those that go home it is not."""
    hosts = tuple(replace(h, cordoned=False) if h.name in homes else h for h in fleet.hosts)
    return replace(fleet, hosts=hosts)
