"""Keeps the balancer calm: when it may act, which guests it must leave alone, and how sure a plan has to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Final

from segue.model.balance import DAY_S, BalanceSettings, Booking, PastMove, Temper
from segue.model.fleet import Fleet, FleetGuest
from segue.model.plan import Move
from segue.policy.board import Board
from segue.policy.imbalance import Imbalance

BOOKINGS_KEPT: Final = 50
BOOKINGS_LEAST: Final = 5
"""From fewer nothing is concluded."""
MARGIN_MOST: Final = 8.0
"""However wrong plans were: at some point the load must be allowed to prove them right again."""


def look(temper: Temper, score: float, hottest: float, settings: BalanceSettings) -> tuple[Temper, str]:
    """(what is remembered now, why it does not act; empty where it does). hottest: the fullest host's share."""
    hot = hottest > settings.hot_share
    found = temper.found + 1 if hot or score >= settings.start_at else 0
    acting = (temper.acting and (hot or score > settings.stop_at)) or found >= settings.looks
    after = replace(temper, found=found, acting=acting)
    if acting:
        return after, ""
    if found:
        return after, f"imbalance {score:.3f}, found {found} times in a row; it acts at {settings.looks}"
    return (
        after,
        f"imbalance {score:.3f} is below {settings.start_at:g}, and no host is over {settings.hot_share:.0%}",
    )


def margin(bookings: tuple[Booking, ...], settings: BalanceSettings) -> float:
    """How many times its cost a move has to gain: more where earlier moves brought less than was planned.

    The median of realised by planned gain: one guest whose load went away does not condemn all plans.
    """
    seen = [b.realised / b.planned for b in bookings if b.realised is not None and b.planned > 0]
    if len(seen) < BOOKINGS_LEAST:
        return settings.margin
    brought = median(seen[-BOOKINGS_KEPT:])
    if brought >= 1:
        return settings.margin
    return max(
        settings.margin, min(MARGIN_MOST, settings.margin / max(brought, settings.margin / MARGIN_MOST))
    )


def hold_back(
    guest: FleetGuest, temper: Temper, now_s: float, blackout_s: float, settings: BalanceSettings
) -> str:
    """Why the balancer leaves this guest alone now; empty where it may move it."""
    if guest.pinned:
        return f"it must not move: {guest.pinned}"
    if guest.moving_to:
        return f"it is on its way to {guest.moving_to}"
    past = [move for move in temper.past.get(guest.name, ()) if now_s - move.ended_s < DAY_S]
    if not past:
        return _too_long(0.0, blackout_s, settings)
    since_s = now_s - max(move.ended_s for move in past)
    if since_s < settings.cooldown_s:
        return f"it was moved {since_s:.0f} s ago, and is left alone for {settings.cooldown_s:.0f} s"
    if len(past) >= settings.budget.moves_per_day:
        return f"it was moved {len(past)} times in a day, its budget is {settings.budget.moves_per_day}"
    return _too_long(sum(move.blackout_s for move in past), blackout_s, settings)


def booked(temper: Temper, move: Move, ended_s: float, blackout_s: float) -> Temper:
    """After a move of the balancer's plan was done, with the blackout that was measured."""
    noted = noticed(temper, move.guest, ended_s, blackout_s)
    entry = Booking(move.guest, move.source, move.target, move.gain)
    return replace(noted, bookings=(*temper.bookings, entry)[-BOOKINGS_KEPT:])


def noticed(temper: Temper, guest: str, ended_s: float, blackout_s: float) -> Temper:
    """After any move of a guest, whoever wanted it; what is older than a day is forgotten."""
    past: Mapping[str, tuple[PastMove, ...]] = {
        name: kept
        for name, moves in temper.past.items()
        if (kept := tuple(move for move in moves if ended_s - move.ended_s < DAY_S))
    }
    return replace(temper, past={**past, guest: (*past.get(guest, ()), PastMove(ended_s, blackout_s))})


def realise(temper: Temper, fleet: Fleet, settings: BalanceSettings) -> Temper:
    """Books what the moves brought that were not looked at yet, by the load as it is now.

    Realised is by how much the imbalance would rise if the guest went back: what it spares the fleet today.
    """
    if all(booking.realised is not None for booking in temper.bookings):
        return temper
    board = Board(fleet)
    imbalance = Imbalance(board, settings.weights)
    numbers = {guest.name: number for number, guest in enumerate(fleet.guests)}

    def looked_at(booking: Booking) -> Booking:
        guest = numbers.get(booking.guest)
        if booking.realised is not None or guest is None or booking.source not in board.host_number:
            return booking
        if fleet.guests[guest].host != booking.target:
            return booking
        return replace(booking, realised=-imbalance.gain(guest, board.host_number[booking.source]))

    return replace(temper, bookings=tuple(looked_at(booking) for booking in temper.bookings))


def _too_long(so_far_s: float, blackout_s: float, settings: BalanceSettings) -> str:
    budget_s = settings.budget.blackout_s_per_day
    if so_far_s + blackout_s > budget_s:
        return (
            f"it stood still for {so_far_s:.2f} s today, {blackout_s:.2f} s more is over its {budget_s:g} s"
        )
    return ""
