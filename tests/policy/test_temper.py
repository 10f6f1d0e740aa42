"""The balancer acts late, stops late, leaves guests alone, and asks for more where its plans proved wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segue.model.balance import DAY_S, BalanceSettings, Booking, Budget, Temper
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Load
from segue.model.plan import Move, Outlook
from segue.policy import temper
from segue.policy.temper import MARGIN_MOST

CHOSEN = BalanceSettings()
GIB = 1 << 30
shares = st.floats(0.0, 1.0)
ratios = st.lists(st.floats(-2.0, 3.0), min_size=0, max_size=40)


def bookings(brought: list[float]) -> tuple[Booking, ...]:
    return tuple(Booking("g", "h1", "h2", planned=0.5, realised=0.5 * share) for share in brought)


@given(st.lists(st.tuples(shares, shares), max_size=30))
def test_it_begins_after_so_many_looks_and_stops_only_below_the_lower_mark(
    looks: list[tuple[float, float]],
) -> None:
    remembered = Temper()
    run = 0
    for score, hottest in looks:
        acted = remembered.acting
        remembered, why = temper.look(remembered, score, hottest, CHOSEN)
        reason = score >= CHOSEN.start_at or hottest > CHOSEN.hot_share
        run = run + 1 if reason else 0
        if remembered.acting and not acted:
            assert run >= CHOSEN.looks
        if acted and (score > CHOSEN.stop_at or hottest > CHOSEN.hot_share):
            assert remembered.acting, "between the marks it goes on"
        if acted and score <= CHOSEN.stop_at and hottest <= CHOSEN.hot_share and run < CHOSEN.looks:
            assert not remembered.acting
        assert bool(why) is not remembered.acting


@given(ratios)
def test_the_margin_is_never_below_what_was_chosen_nor_without_end(brought: list[float]) -> None:
    found = temper.margin(bookings(brought), CHOSEN)
    assert CHOSEN.margin <= found <= MARGIN_MOST


@given(ratios, st.floats(0.0, 2.0))
def test_worse_outcomes_never_narrow_the_margin(brought: list[float], worse_by: float) -> None:
    worse = [share - worse_by for share in brought]
    assert temper.margin(bookings(worse), CHOSEN) >= temper.margin(bookings(brought), CHOSEN) - 1e-12


def test_half_of_what_was_planned_doubles_the_margin() -> None:
    assert temper.margin(bookings([0.5] * 9), CHOSEN) == pytest.approx(2 * CHOSEN.margin)
    assert temper.margin(bookings([0.5] * 4), CHOSEN) == CHOSEN.margin, "too few to learn from"
    assert temper.margin(bookings([-1.0] * 9), CHOSEN) == MARGIN_MOST


def move(gain: float = 0.5) -> Move:
    return Move("g", "h1", "h2", Outlook(1.0, 0.1, GIB), "", gain=gain)


def test_a_guest_that_was_moved_is_left_alone_whoever_moved_it() -> None:
    guest = FleetGuest("g", Amounts(GIB, 1), host="h2")
    for after in (
        temper.booked(Temper(), move(), 1000.0, 0.1),
        temper.noticed(Temper(), "g", 1000.0, 0.1),
    ):
        assert "moved 500 s ago" in temper.hold_back(guest, after, 1500.0, 0.1, CHOSEN)
        assert temper.hold_back(guest, after, 1000.0 + CHOSEN.cooldown_s, 0.1, CHOSEN) == ""


def test_a_budget_is_for_a_day() -> None:
    guest = FleetGuest("g", Amounts(GIB, 1), host="h2")
    remembered = Temper()
    for number in range(4):
        remembered = temper.noticed(remembered, "g", number * 10_000.0, 0.3)
    assert "moved 4 times" in temper.hold_back(guest, remembered, 40_000.0, 0.1, CHOSEN)
    tight = replace(CHOSEN, budget=Budget(moves_per_day=9, blackout_s_per_day=1.25))
    assert "stood still for 1.20 s today" in temper.hold_back(guest, remembered, 40_000.0, 0.1, tight)
    assert temper.hold_back(guest, remembered, 30_000.0 + DAY_S + 1, 0.1, tight) == ""
    later = temper.noticed(remembered, "other", 30_000.0 + DAY_S + 1, 0.1)
    assert set(later.past) == {"other"}


def test_what_a_move_brought_is_booked_by_the_load_of_then() -> None:
    machines = (FleetHost("h1", 64 * GIB, 8), FleetHost("h2", 64 * GIB, 8))

    def fleet(load: float) -> Fleet:
        return Fleet(
            machines,
            (
                FleetGuest("g", Amounts(GIB, 0), host="h2", load=Load(load)),
                FleetGuest("other", Amounts(GIB, 0), host="h1", load=Load(4.0)),
            ),
        )

    begun = temper.booked(Temper(), move(), 0.0, 0.1)
    as_planned = temper.realise(begun, fleet(4.0), CHOSEN).bookings[0].realised
    gone = temper.realise(begun, fleet(0.0), CHOSEN).bookings[0].realised
    assert as_planned is not None
    assert gone is not None
    assert as_planned > 10 * max(gone, 0.0)
    again = temper.realise(temper.realise(begun, fleet(4.0), CHOSEN), fleet(0.0), CHOSEN)
    assert again.bookings[0].realised == as_planned, "booked once"
    elsewhere = replace(fleet(4.0), guests=(replace(fleet(4.0).guests[0], host="h1"),))
    assert temper.realise(begun, elsewhere, CHOSEN).bookings[0].realised is None
