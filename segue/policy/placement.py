"""Chooses a host for one guest, new or running, or says for every host why not it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from segue.model.balance import Prices, Weights
from segue.model.fleet import Fleet, FleetGuest
from segue.model.plan import Choice, NoHost, Outlook
from segue.policy import likes, outlook
from segue.policy.board import NOWHERE, Board
from segue.policy.imbalance import Imbalance
from segue.policy.outlook import Basis

OTHERS: Final = 3
"""Next best hosts that are shown."""


@dataclass(frozen=True)
class _Offer:
    """One host that takes the guest. Costs are shares of a host."""

    score: float
    host: int
    imbalance: float
    strain: float
    move: float
    foreseen: Outlook | None


def place(
    guest: FleetGuest,
    fleet: Fleet,
    basis: Basis | None = None,
    weights: Weights | None = None,
    prices: Prices | None = None,
) -> Choice | NoHost:
    """Where it goes. A guest that the fleet knows by name is moved: its forecast counts, and its own host is none."""
    board = Board(_with(fleet, guest))
    number = next(n for n, known in enumerate(board.guests) if known.name == guest.name)
    imbalance = Imbalance(board, weights or Weights())
    offers: list[_Offer] = []
    refused: dict[str, tuple[str, ...]] = {}
    for host, there in enumerate(board.hosts):
        if host == board.at[number]:
            refused[there.name] = ("it is there already",)
        elif board.takes(number, host):
            offers.append(_offer(board, imbalance, number, host, basis or Basis(), prices or Prices()))
        else:
            refused[there.name] = board.refusals(number, host)
    if not offers:
        return NoHost(guest.name, refused)
    offers.sort(key=lambda offer: (offer.score, board.hosts[offer.host].name))
    best, *others = offers
    return Choice(
        guest.name,
        board.hosts[best.host].name,
        best.score,
        _why(board, best, number),
        best.foreseen,
        tuple((board.hosts[offer.host].name, offer.score) for offer in others[:OTHERS]),
        refused,
    )


def move_cost(foreseen: Outlook, importance: int, prices: Prices) -> float:
    """What a move is worth avoiding, as a share of a host."""
    seconds = prices.per_s * foreseen.total_s + prices.per_blackout_s * foreseen.blackout_s
    return seconds * max(0.0, 1.0 + prices.per_importance * importance)


def filled(board: Board, host: int) -> str:
    """How full a host is, for people."""
    memory, vcpus, load, _ = board.share[host]
    return f"{memory:.0%} memory, {vcpus:.0%} vCPUs, {load:.0%} load"


def _with(fleet: Fleet, guest: FleetGuest) -> Fleet:
    """The fleet with this guest in it: as it is here, where it is there."""
    known = {each.name: n for n, each in enumerate(fleet.guests)}
    if guest.name not in known:
        return replace(fleet, guests=(*fleet.guests, replace(guest, host="")))
    guests = list(fleet.guests)
    guests[known[guest.name]] = guest
    return replace(fleet, guests=tuple(guests))


def _offer(board: Board, imbalance: Imbalance, guest: int, host: int, basis: Basis, prices: Prices) -> _Offer:
    spec, foreseen, move = board.guests[guest], None, 0.0
    if board.at[guest] != NOWHERE:
        foreseen = outlook.of_move(spec, board.hosts[board.at[guest]], board.hosts[host], basis)
        move = move_cost(foreseen, spec.importance, prices)
    uneven = -imbalance.gain(guest, host)
    strain = likes.strain(board, guest, host)
    return _Offer(uneven + strain + move, host, uneven, strain, move, foreseen)


def _why(board: Board, offer: _Offer, guest: int) -> str:
    board.move(guest, offer.host)
    text = f"then at {filled(board, offer.host)}"
    board.undo(guest)
    if offer.strain:
        text += f"; breaks soft rules worth {offer.strain:.2f}"
    if offer.foreseen:
        text += f"; {offer.foreseen.total_s:.0f} s, blackout {offer.foreseen.blackout_s * 1e3:.0f} ms"
    return text
