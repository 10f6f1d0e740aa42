"""A balance plan never promises a host twice, gains more than it costs, moves nobody back, and comes to an end."""

from __future__ import annotations

import itertools
from dataclasses import replace
from math import sqrt
from statistics import median

from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model.balance import BalanceSettings, Budget, Prices, Temper, Weights
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Load, Rule, Spread
from segue.model.plan import BalancePlan, Move
from segue.policy import balance, temper
from tests.policy import fleets
from tests.policy.fleets import GIB
from tests.thorough import examples

EAGER = BalanceSettings(start_at=0.0, stop_at=0.0, looks=1, moves_most=50)
FREE = replace(EAGER, prices=Prices(0.0, 0.0, 0.0), gain_least=1e-6, cpu_load_most=100.0)
MENDS = "mends: "


def uneven(fleet: Fleet, weights: Weights) -> float:
    """The score, from its definition."""
    rows = []
    for host in (host for host in fleet.hosts if not host.cordoned):
        here = [guest for guest in fleet.guests if guest.host == host.name]
        calm = [
            (
                min(g.load.cpu_cores, (g.load_before or g.load).cpu_cores),
                min(g.load.network_bytes_per_s, (g.load_before or g.load).network_bytes_per_s),
            )
            for g in here
        ]
        room = fleets.capacity(host)
        rows.append(
            (
                sum(g.needs.memory_bytes for g in here) / room.memory,
                sum(g.needs.vcpus for g in here) / room.vcpus,
                sum(cores for cores, _ in calm) / host.cpus,
                sum(bytes_ for _, bytes_ in calm) / room.network if room.network else 0.0,
            )
        )
    if not rows:
        return 0.0
    total = 0.0
    for weight, column in zip(
        (weights.memory, weights.vcpus, weights.cpu_load, weights.network_load),
        zip(*rows, strict=True),
        strict=True,
    ):
        mean = sum(column) / len(column)
        total += weight * sqrt(sum((share - mean) ** 2 for share in column) / len(column))
    return total


def levels(move: Move) -> bool:
    return not move.why.startswith(MENDS)


def check(fleet: Fleet, made: BalancePlan, chosen: BalanceSettings) -> None:
    """What holds for every plan."""
    moves = made.plan.moves
    assert fleets.once(moves)
    assert len(moves) <= chosen.moves_most
    fleets.demand_suitable(fleet, made.plan)
    fleets.demand_never_too_much(fleet, made.plan)
    fleets.demand_apart(fleet, made.plan)
    assert abs(made.before - uneven(fleet, chosen.weights)) < 1e-6
    assert abs(made.after - uneven(fleets.after(fleet, moves), chosen.weights)) < 1e-6
    open_hosts = sum(not host.cordoned for host in fleet.hosts)
    assert abs(sum(move.gain for move in moves) - open_hosts * (made.before - made.after)) < 1e-6
    for move in moves:
        assert "\n" not in move.why
        assert move.source != move.target
        if levels(move):
            assert move.gain >= chosen.margin * move.cost + chosen.gain_least - 1e-9


@given(fleets.fleets())
@settings(deadline=None, max_examples=examples(250))
def test_every_move_gains_more_than_it_costs_and_nothing_is_promised_twice(fleet: Fleet) -> None:
    made, _ = balance.plan(fleet, Temper(), 0.0, EAGER)
    check(fleet, made, EAGER)


@given(fleets.fleets(), st.integers(1, 3))
@settings(deadline=None, max_examples=examples(100))
def test_it_is_as_short_as_it_was_ordered(fleet: Fleet, most: int) -> None:
    chosen = replace(FREE, moves_most=most)
    check(fleet, balance.plan(fleet, Temper(), 0.0, chosen)[0], chosen)


@given(fleets.fleets())
@settings(deadline=None, max_examples=examples(100))
def test_under_the_same_load_it_comes_to_rest_and_nobody_goes_back(fleet: Fleet) -> None:
    seen = {tuple(guest.host for guest in fleet.guests)}
    left: set[tuple[str, str]] = set()
    for _ in range(30):
        made, _ = balance.plan(fleet, Temper(), 0.0, EAGER)
        if not made.plan.moves:
            return
        for move in (move for move in made.plan.moves if levels(move)):
            left.add((move.guest, move.source))
        fleet = fleets.after(fleet, made.plan.moves)
        where = tuple(guest.host for guest in fleet.guests)
        assert where not in seen, "the fleet has been like this before"
        seen.add(where)
    raise AssertionError("it never comes to rest")


@given(st.lists(st.lists(fleets.loads(), min_size=8, max_size=8), min_size=4, max_size=30))
@settings(deadline=None, max_examples=examples(60))
def test_whatever_the_load_does_each_guest_keeps_its_budget_and_its_rest(history: list[list[Load]]) -> None:
    chosen = replace(
        FREE, cooldown_s=1500.0, budget=Budget(moves_per_day=2, blackout_s_per_day=0.025), looks=1
    )
    machines = tuple(FleetHost(f"h{n}", 64 * GIB, 8) for n in range(3))
    fleet = Fleet(
        machines, tuple(FleetGuest(f"g{n}", Amounts(4 * GIB, 1), host=f"h{n % 3}") for n in range(8))
    )
    remembered, moved = Temper(), dict[str, list[tuple[float, float]]]()
    for number, look in enumerate(history):
        now_s = number * 600.0
        guests = tuple(replace(g, load=load) for g, load in zip(fleet.guests, look, strict=True))
        fleet = replace(fleet, guests=guests)
        made, remembered = balance.plan(fleet, remembered, now_s, chosen)
        for move in made.plan.moves:
            moved.setdefault(move.guest, []).append((now_s, move.outlook.blackout_s))
            remembered = temper.booked(remembered, move, now_s, move.outlook.blackout_s)
        fleet = fleets.after(fleet, made.plan.moves)
    for times in moved.values():
        assert len(times) <= 2
        assert sum(blackout_s for _, blackout_s in times) <= 0.025
        assert all(b - a >= 1500.0 for (a, _), (b, _) in itertools.pairwise(times))


@st.composite
def crowded(draw: st.DrawFn) -> Fleet:
    """Like hosts with room, and guests that must be apart and are not."""
    count = draw(st.integers(2, 4))
    many = draw(st.integers(2, count))
    return Fleet(
        tuple(FleetHost(f"h{n}", 64 * GIB, 16) for n in range(count)),
        tuple(
            FleetGuest(
                f"g{n}",
                Amounts(2 * GIB, 1),
                host=f"h{draw(st.integers(0, count - 1))}",
                labels={"app": "web" if n < many else "db"},
            )
            for n in range(many + draw(st.integers(0, 3)))
        ),
        (Rule("web", Spread.APART, {"app": "web"}),),
    )


@given(crowded())
@settings(deadline=None, max_examples=examples(100))
def test_guests_that_must_be_apart_are_brought_apart(fleet: Fleet) -> None:
    calm = BalanceSettings(start_at=9.0, looks=99)
    made, _ = balance.plan(fleet, Temper(), 0.0, calm)
    after = fleets.after(fleet, made.plan.moves)
    web = [guest.host for guest in after.guests if guest.labels["app"] == "web"]
    if not made.plan.staying:
        assert len(set(web)) == len(web)
    else:
        assert len({guest.host for guest in fleet.guests}) > 1, "with room everywhere nobody has to stay"
    assert not [move for move in made.plan.moves if levels(move)], "it acts only to mend"


@given(crowded())
@settings(deadline=None, max_examples=examples(50))
def test_soft_wishes_are_mended_where_it_is_worth_it(fleet: Fleet) -> None:
    soft = replace(fleet, rules=(replace(fleet.rules[0], hard=False, weight=5.0),))
    made, _ = balance.plan(soft, Temper(), 0.0, BalanceSettings(start_at=9.0, looks=99))
    web = [g.host for g in fleets.after(soft, made.plan.moves).guests if g.labels["app"] == "web"]
    assert len(set(web)) == len(web)


def test_an_overfull_host_is_relieved() -> None:
    fleet = Fleet(
        (FleetHost("h1", 16 * GIB, 8), FleetHost("h2", 16 * GIB, 8)),
        tuple(FleetGuest(f"g{n}", Amounts(8 * GIB, 1), host="h1") for n in range(3)),
    )
    made, _ = balance.plan(fleet, Temper(), 0.0, BalanceSettings(start_at=9.0))
    assert [(m.source, m.target) for m in made.plan.moves] == [("h1", "h2")]
    assert "promised more than it has" in made.plan.moves[0].why


def best_single(fleet: Fleet, weights: Weights) -> float:
    """The most that any one allowed move lowers the score, by trying all."""
    before, best = uneven(fleet, weights), 0.0
    for guest, host in itertools.product(fleet.guests, fleet.hosts):
        where = fleets.places(fleet)
        where[guest.name] = where[guest.name] | {host.name}
        if guest.host == host.name or fleets.promised(fleet, where, host.name).exceeds(fleets.capacity(host)):
            continue
        moved = Move(guest.name, guest.host, host.name, outlook=None, why="")  # type: ignore[arg-type]
        best = max(best, before - uneven(fleets.after(fleet, [moved]), weights))
    return best


@st.composite
def plain(draw: st.DrawFn, most_guests: int = 7) -> Fleet:
    """Nothing but sizes and loads."""
    count = draw(st.integers(2, 3))
    return Fleet(
        tuple(FleetHost(f"h{n}", draw(st.sampled_from([32, 64])) * GIB, 16) for n in range(count)),
        tuple(
            FleetGuest(
                f"g{n}",
                Amounts(draw(st.integers(1, 8)) * GIB, draw(st.integers(1, 4))),
                host=f"h{draw(st.integers(0, count - 1))}",
                load=Load(draw(st.sampled_from([0.0, 0.5, 1.0, 2.0]))),
            )
            for n in range(draw(st.integers(1, most_guests)))
        ),
    )


@given(plain())
@settings(deadline=None, max_examples=examples(100))
def test_where_it_moves_nothing_no_single_move_is_worth_it(fleet: Fleet) -> None:
    """A descent need not begin with the best single move, and may end in a dent; it never overlooks them all."""
    made, _ = balance.plan(fleet, Temper(), 0.0, FREE)
    best = best_single(fleet, FREE.weights)
    if made.plan.moves:
        assert sum(move.gain for move in made.plan.moves) > 0
    else:
        assert best <= FREE.gain_least


def test_it_comes_close_to_the_best_placement_there_is() -> None:
    """Against every placement of six guests on three hosts; a descent may end in a dent, seldom a deep one."""
    missed = []
    for seed in range(25):
        sizes = [(seed * 7 + n * 5) % 11 + 1 for n in range(6)]
        loads = [((seed + 3) * (n + 2)) % 5 / 2 for n in range(6)]
        fleet = Fleet(
            tuple(FleetHost(f"h{n}", 64 * GIB, 16) for n in range(3)),
            tuple(
                FleetGuest(f"g{n}", Amounts(size * GIB, 1), host="h0", load=Load(load))
                for n, (size, load) in enumerate(zip(sizes, loads, strict=True))
            ),
        )
        made, _ = balance.plan(fleet, Temper(), 0.0, FREE)
        best = min(
            uneven(
                replace(
                    fleet, guests=tuple(replace(g, host=h) for g, h in zip(fleet.guests, where, strict=True))
                ),
                FREE.weights,
            )
            for where in itertools.product(["h0", "h1", "h2"], repeat=6)
        )
        missed.append((made.after - best) / (made.before - best))
    assert median(missed) < 0.03
    assert max(missed) < 0.15


def test_a_spike_moves_nobody() -> None:
    busy, idle = Load(7.0), Load(0.5)
    fleet = Fleet(
        (FleetHost("h1", 64 * GIB, 8), FleetHost("h2", 64 * GIB, 8)),
        tuple(
            FleetGuest(f"g{n}", Amounts(4 * GIB, 1), host=f"h{n + 1}", load=load, load_before=idle)
            for n, load in enumerate((busy, idle))
        ),
    )
    made, _ = balance.plan(fleet, Temper(), 0.0, EAGER)
    assert made.before < 1e-9
    assert not made.plan.moves


def test_a_target_is_not_loaded_beyond_its_peak() -> None:
    fleet = Fleet(
        (FleetHost("h1", 64 * GIB, 8), FleetHost("h2", 64 * GIB, 2)),
        tuple(FleetGuest(f"g{n}", Amounts(GIB, 1), host="h1", load=Load(1.5)) for n in range(4)),
    )
    made, _ = balance.plan(fleet, Temper(), 0.0, replace(EAGER, cpu_load_most=0.85))
    assert sum(move.target == "h2" for move in made.plan.moves) <= 1


def test_a_move_that_is_dearer_than_its_gain_is_not_made() -> None:
    fleet = Fleet(
        (FleetHost("h1", 64 * GIB, 8), FleetHost("h2", 64 * GIB, 8)),
        tuple(FleetGuest(f"g{n}", Amounts(8 * GIB, 1), host="h1") for n in range(4)),
    )
    dear = replace(EAGER, prices=Prices(per_s=1.0))
    assert balance.plan(fleet, Temper(), 0.0, EAGER)[0].plan.moves
    made, _ = balance.plan(fleet, Temper(), 0.0, dear)
    assert not made.plan.moves
    assert made.why == "no move gains more than it costs"


def test_moves_that_help_only_together_give_way_to_moves_that_help_one_by_one() -> None:
    """The search ends at two moves that level best, and neither of them may be made before the other."""
    loads = {"g0": ("h0", 1, 0.0), "g1": ("h0", 6, 0.5), "g2": ("h1", 1, 2.0), "g3": ("h1", 4, 1.0),
             "g4": ("h0", 4, 2.0), "g5": ("h2", 8, 1.0)}  # fmt: skip
    fleet = Fleet(
        tuple(FleetHost(f"h{n}", 64 * GIB, 16) for n in range(3)),
        tuple(
            FleetGuest(name, Amounts(gib * GIB, 1), host=host, load=Load(cpu))
            for name, (host, gib, cpu) in loads.items()
        ),
    )
    made, _ = balance.plan(fleet, Temper(), 0.0, FREE)
    assert [(move.guest, move.target) for move in made.plan.moves] == [
        ("g0", "h1"),
        ("g3", "h2"),
        ("g1", "h1"),
    ]
    assert all(move.gain > 0 for move in made.plan.moves)
    assert made.before - made.after >= best_single(fleet, FREE.weights)
