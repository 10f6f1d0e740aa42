"""A plan that is carried on while the fleet changes: nothing is promised twice, and what is off says why."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from segue.model.balance import BalanceSettings, PlannedMove, Temper, Weights
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Rule, Spread
from segue.model.plan import Move, Outlook, Plan, Wave
from segue.policy import balance, following
from tests.policy import fleets
from tests.thorough import examples

EAGER = BalanceSettings(start_at=0.0, stop_at=0.0, looks=1, moves_most=50)


def planned(fleet: Fleet) -> tuple[PlannedMove, ...]:
    made, _ = balance.plan(fleet, Temper(), 0.0, EAGER)
    return balance.listed(made.plan)


@settings(deadline=None, max_examples=examples(60))
@given(fleets.fleets())
def test_nothing_has_changed_so_the_first_wave_begins_and_nothing_is_off(fleet: Fleet) -> None:
    fleet = replace(fleet, guests=tuple(replace(guest, moving_to="") for guest in fleet.guests))
    moves = planned(fleet)
    found = following.sort_out(fleet, moves, (), EAGER.weights)
    assert {move.guest for move in found.ready} == {move.guest for move in moves if move.wave == 0}
    assert not found.off


@settings(deadline=None, max_examples=examples(60))
@given(fleets.fleets(), fleets.fleets())
def test_whatever_has_become_of_the_fleet_no_host_promises_too_much(planned_for: Fleet, now: Fleet) -> None:
    moves = planned(planned_for)
    found = following.sort_out(now, moves, (), Weights())
    assert not {move.guest for move in found.ready} & set(found.off)
    outlook = Outlook(1.0, 0.1, 1)
    wave = Wave(tuple(Move(m.guest, m.source, m.target, outlook, m.why) for m in found.ready))
    fleets.demand_suitable(now, Plan((wave,)))
    fleets.demand_never_too_much(now, Plan((wave,)))
    fleets.demand_apart(now, Plan((wave,)))


@settings(deadline=None, max_examples=examples(40))
@given(fleets.fleets(), st.data())
def test_a_host_that_is_cordoned_gets_none_of_it(fleet: Fleet, data: st.DataObject) -> None:
    moves = planned(fleet)
    assume(moves)
    closed = data.draw(st.sampled_from(sorted({move.target for move in moves})))
    hosts = tuple(replace(host, cordoned=host.cordoned or host.name == closed) for host in fleet.hosts)
    found = following.sort_out(replace(fleet, hosts=hosts), moves, (), EAGER.weights)
    assert closed not in {move.target for move in found.ready}
    for move in moves:
        if move.target == closed:
            assert found.off[move.guest] == f"{closed} takes nothing in any more"


@settings(deadline=None, max_examples=examples(40), suppress_health_check=[HealthCheck.filter_too_much])
@given(fleets.fleets())
def test_a_later_wave_waits_for_the_one_before(fleet: Fleet) -> None:
    moves = planned(fleet)
    first = [move for move in moves if move.wave == 0]
    later = [replace(move, wave=1) for move in first[1:]]
    assume(later)
    assert not following.sort_out(fleet, later, first[:1], EAGER.weights).ready


def test_a_group_that_comes_together_again_may_begin_in_any_order() -> None:
    """The first of them could not go alone: the others are elsewhere still, and come along."""
    hosts = tuple(
        FleetHost(name, fleets.GIB << 6, 16, labels={"rack": rack}, cordoned=name == "c")
        for name, rack in (("a", "r2"), ("b", "r3"), ("c", "r2"))
    )
    at = {"g1": "c", "g2": "b", "g0": "b", "g7": "a"}
    guests = tuple(
        FleetGuest(name, Amounts(fleets.GIB, 1), host, labels={"app": "db"}) for name, host in at.items()
    )
    rule = Rule("near", Spread.TOGETHER, {"app": "db"}, "rack", 1, hard=True)
    fleet = Fleet(hosts, guests, (rule,), (), failure_domains=("rack",))
    moves = tuple(PlannedMove(name, at[name], "a", 0, 0.1, 0.0, "mends: x") for name in ("g1", "g2", "g0"))
    found = following.sort_out(fleet, moves, (), EAGER.weights)
    assert (found.ready, found.off) == (moves, {})
