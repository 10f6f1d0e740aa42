"""Whatever the fleet: everyone is moved or named, nothing is promised twice, no guest goes where it leaves next."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.errors import Refused
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Rule, Spread, Uplink
from segue.model.plan import Plan
from segue.policy import drain
from segue.policy.drain import Orders
from segue.policy.timetable import Slots
from tests.policy import fleets
from tests.policy.fleets import GIB, LINK
from tests.thorough import examples


def check(fleet: Fleet, emptied: set[str], plan: Plan) -> None:
    """What holds for every drain."""
    moving = {move.guest for move in plan.moves}
    leaving = {guest.name for guest in fleet.guests if guest.host in emptied}
    arriving = {guest.name for guest in fleet.guests if guest.moving_to in emptied}
    assert leaving <= moving | plan.staying.keys()
    assert plan.staying.keys() <= leaving | arriving
    assert not moving & plan.staying.keys()
    assert all(plan.staying.values())
    assert fleets.once(plan.moves)
    assert not {move.target for move in plan.moves} & emptied
    fleets.demand_suitable(fleet, plan)
    fleets.demand_never_too_much(fleet, plan)
    fleets.demand_apart(fleet, plan)


@st.composite
def drains(draw: st.DrawFn) -> tuple[Fleet, set[str]]:
    fleet = draw(fleets.fleets())
    names = [host.name for host in fleet.hosts]
    return fleet, draw(st.sets(st.sampled_from(names), min_size=1))


@given(drains())
@settings(deadline=None, max_examples=examples(300))
def test_everyone_is_moved_or_named_and_nothing_is_promised_twice(case: tuple[Fleet, set[str]]) -> None:
    fleet, emptied = case
    check(fleet, emptied, drain.plan(fleet, emptied))


@given(drains(), st.data())
@settings(deadline=None, max_examples=examples(150))
def test_from_any_half_done_state_it_is_planned_again(
    case: tuple[Fleet, set[str]], data: st.DataObject
) -> None:
    fleet, emptied = case
    first = drain.plan(fleet, emptied)
    ahead = first.waves[0].moves if first.waves else ()
    fate = data.draw(
        st.lists(st.sampled_from(["done", "under way", ""]), min_size=len(ahead), max_size=len(ahead))
    )
    done = [move for move, what in zip(ahead, fate, strict=True) if what == "done"]
    running = [move for move, what in zip(ahead, fate, strict=True) if what == "under way"]
    halfway = fleets.after(fleet, done, running)
    again = drain.plan(halfway, emptied)
    check(halfway, emptied, again)
    assert not {move.guest for move in again.moves} & {move.guest for move in done}


@given(drains())
@settings(deadline=None, max_examples=examples(150))
def test_a_target_that_dies_is_planned_around(case: tuple[Fleet, set[str]]) -> None:
    fleet, emptied = case
    first = drain.plan(fleet, emptied)
    dead = first.moves[0].target if first.moves else next(h.name for h in fleet.hosts)
    left = replace(
        fleet,
        hosts=tuple(host for host in fleet.hosts if host.name != dead),
        guests=tuple(guest for guest in fleet.guests if dead not in {guest.host, guest.moving_to}),
    )
    check(left, emptied - {dead}, drain.plan(left, emptied - {dead}))


@st.composite
def tight(draw: st.DrawFn) -> Fleet:
    """One host to be emptied into two or three that have hardly room."""
    count = draw(st.integers(2, 3))
    machines = [FleetHost(f"h{n}", draw(st.integers(4, 12)) * GIB, 8) for n in range(count)]
    sizes = draw(st.lists(st.integers(1, 8), min_size=1, max_size=6))
    return Fleet(
        (FleetHost("h", 64 * GIB, 64), *machines),
        tuple(FleetGuest(f"g{n}", Amounts(size * GIB, 1), host="h") for n, size in enumerate(sizes)),
        (Rule("apart", Spread.APART, {"app": "x"}),),
    )


def most_that_fit(fleet: Fleet) -> int:
    """By trying everything."""
    rooms = [host.memory_bytes for host in fleet.hosts[1:]]
    best = 0
    for choice in itertools.product(range(-1, len(rooms)), repeat=len(fleet.guests)):
        taken = [0] * len(rooms)
        for guest, host in zip(fleet.guests, choice, strict=True):
            if host >= 0:
                taken[host] += guest.needs.memory_bytes
        if all(used <= room for used, room in zip(taken, rooms, strict=True)):
            best = max(best, sum(host >= 0 for host in choice))
    return best


@given(tight())
@settings(deadline=None, max_examples=examples(120))
def test_no_other_placement_moves_more_guests(fleet: Fleet) -> None:
    made = drain.plan(fleet, {"h"}, Orders(make_room=False))
    assert len(made.moves) == most_that_fit(fleet)


@given(
    st.lists(st.integers(8, 64), min_size=4, max_size=24),
    st.integers(1, 3),
    st.integers(3, 6),
    st.sampled_from([2, 4, 8]),
)
@settings(deadline=None, max_examples=examples(100))
def test_it_takes_little_longer_than_the_links_need(
    sizes: list[int], sources: int, targets: int, slots: int
) -> None:
    machines = [FleetHost(f"h{n}", 4096 * GIB, 64, link_bytes_per_s=LINK) for n in range(sources + targets)]
    placed = tuple(
        FleetGuest(f"g{n}", Amounts(size * GIB, 1), host=f"h{n % sources}") for n, size in enumerate(sizes)
    )
    made = drain.plan(
        Fleet(tuple(machines), placed), {f"h{n}" for n in range(sources)}, Orders(Slots(slots, slots))
    )
    by_link: dict[tuple[str, str], int] = {}
    for move in made.moves:
        for end in (("out", move.source), ("in", move.target)):
            by_link[end] = by_link.get(end, 0) + move.outlook.copied_bytes
    longest = max(move.outlook.total_s for move in made.moves)
    bound_s = max(longest, *(copied / LINK for copied in by_link.values()))
    out_s = max(copied / LINK for (way, _), copied in by_link.items() if way == "out")
    into_s = sum(sizes) * GIB / targets / LINK
    assert made.total_s <= 1.3 * bound_s + 4
    assert bound_s <= 1.3 * max(out_s, into_s, longest) + max(sizes) * GIB / LINK, "targets are chosen badly"


def spans_on(made: Plan, end: str, name: str) -> list[tuple[float, float]]:
    return [(move.begins_s, move.ends_s) for move in made.moves if getattr(move, end) == name]


@given(drains(), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=examples(150))
def test_no_more_moves_at_once_than_allowed(case: tuple[Fleet, set[str]], out: int, into: int) -> None:
    fleet, emptied = case
    made = drain.plan(fleet, emptied, Orders(Slots(out, into)))
    for end, most in (("source", out), ("target", into)):
        for host in fleet.hosts:
            spans = spans_on(made, end, host.name)
            for begins_s, _ in spans:
                assert sum(a <= begins_s < b - 1e-9 for a, b in spans) <= most
    assert all(move.ends_s - move.begins_s >= 0 for move in made.moves)
    assert made.total_s >= made.least_s * 0.999999


def test_room_is_made_where_nothing_else_helps() -> None:
    fleet = Fleet(
        (FleetHost("h1", 32 * GIB, 8), FleetHost("h2", 32 * GIB, 8), FleetHost("h3", 20 * GIB, 8)),
        (
            FleetGuest("large", Amounts(30 * GIB, 1), host="h1"),
            FleetGuest("small", Amounts(8 * GIB, 1), host="h2"),
        ),
    )
    made = drain.plan(fleet, {"h1"})
    assert [[(m.guest, m.target) for m in wave.moves] for wave in made.waves] == [
        [("small", "h3")],
        [("large", "h2")],
    ]
    assert made.waves[1].moves[0].begins_s == made.waves[0].moves[0].ends_s
    check(fleet, {"h1"}, made)
    staying = drain.plan(fleet, {"h1"}, Orders(make_room=False)).staying
    assert staying == {"large": "h2: 6.0 GiB short of memory; h3: 10.0 GiB short of memory"}


def test_whoever_belongs_to_others_does_not_leave_them_to_make_room() -> None:
    """Half of a pair has arrived, the other half is on its way: the first one stays where it is."""
    pair = {"app": "pair"}
    fleet = Fleet(
        (FleetHost("h1", 64 * GIB, 8), FleetHost("h2", 64 * GIB, 8), FleetHost("h3", 16 * GIB, 8)),
        (
            FleetGuest("arrived", Amounts(8 * GIB, 1), host="h2", labels=pair),
            FleetGuest("going", Amounts(8 * GIB, 1), host="h1", moving_to="h2", labels=pair),
            FleetGuest("large", Amounts(54 * GIB, 1), host="h1"),
        ),
        (Rule("pair", Spread.TOGETHER, pair),),
    )
    made = drain.plan(fleet, {"h1"})
    assert made.moves == ()
    assert "large" in made.staying


def test_guests_that_belong_together_go_together() -> None:
    pair = [FleetGuest(f"g{n}", Amounts(10 * GIB, 1), host="h1", labels={"app": "pair"}) for n in range(2)]
    fleet = Fleet(
        (
            FleetHost("h1", 32 * GIB, 8),
            FleetHost("h2", 16 * GIB, 8),
            FleetHost("h3", 24 * GIB, 8, link_bytes_per_s=1e8),
        ),
        tuple(pair),
        (Rule("pair", Spread.TOGETHER, {"app": "pair"}),),
    )
    made = drain.plan(fleet, {"h1"})
    assert {move.target for move in made.moves} == {"h3"}
    assert len(made.moves) == 2


def test_why_a_guest_stays_is_said_for_each_host() -> None:
    fleet = Fleet(
        (
            FleetHost("h1", 32 * GIB, 8),
            FleetHost("h2", 4 * GIB, 8),
            FleetHost("h3", 64 * GIB, 8, cpu_features=frozenset({"avx2"})),
            FleetHost("h4", 64 * GIB, 8, cordoned=True),
        ),
        (FleetGuest("g", Amounts(6 * GIB, 1), host="h1", cpu_features=frozenset({"avx512f"})),),
    )
    assert drain.plan(fleet, {"h1"}).staying == {
        "g": "h2: 2.0 GiB short of memory; h3: lacks avx512f; h4: is cordoned"
    }


def test_unknown_names_are_refused() -> None:
    fleet = Fleet((FleetHost("h1", GIB, 1, labels={"rack": "r1"}),))
    with pytest.raises(Refused, match="there is no host h9"):
        drain.plan(fleet, {"h9"})
    with pytest.raises(Refused, match="no host has rack=r2"):
        drain.hosts_of(fleet, "rack", "r2")
    assert drain.hosts_of(fleet, "rack", "r1") == ("h1",)
    for label, value in (("", ""), ("rack", ""), ("", "r1")):
        with pytest.raises(Refused, match="neither a host nor a domain"):
            drain.hosts_of(fleet, label, value)


def test_a_guest_that_does_not_converge_keeps_nobody_waiting() -> None:
    busy = FleetGuest("busy", Amounts(32 * GIB, 1), host="h1", dirty_bytes_per_s=5e9)
    calm = [FleetGuest(f"g{n}", Amounts(4 * GIB, 1), host="h1") for n in range(3)]
    hosts = tuple(FleetHost(f"h{n}", 64 * GIB, 8, link_bytes_per_s=LINK) for n in (1, 2))
    made = drain.plan(Fleet(hosts, (busy, *calm)), {"h1"})
    begins_s = {move.guest: move.begins_s for move in made.moves}
    assert len(begins_s) == 4
    assert max(begins_s[guest.name] for guest in calm) < begins_s["busy"]
    assert not next(move for move in made.moves if move.guest == "busy").outlook.converges


def test_a_slow_uplink_is_avoided() -> None:
    racks = ["r1", "r1", *["r2"] * 40]
    hosts = tuple(
        FleetHost(f"h{n}", (64 if n < 2 else 128) * GIB, 8, link_bytes_per_s=LINK, labels={"rack": rack})
        for n, rack in enumerate(racks)
    )
    guests_ = tuple(FleetGuest(f"g{n}", Amounts(8 * GIB, 1), host="h0") for n in range(4))
    slow = Fleet(hosts, guests_, uplinks=(Uplink("rack", "r1", LINK / 20),))
    assert {move.target for move in drain.plan(slow, {"h0"}).moves} == {"h1"}
    assert len({move.target for move in drain.plan(replace(slow, uplinks=()), {"h0"}).moves}) == 4
