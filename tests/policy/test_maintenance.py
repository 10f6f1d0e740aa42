"""Maintenance: nobody lands where work is or comes next, limits hold, every host has a turn or a reason."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost
from segue.model.maintenance import (
    HostState,
    HostWork,
    Order,
    Passed,
    Scope,
    Step,
    StepKind,
    Strategy,
    Window,
)
from segue.model.plan import Move, Outlook
from segue.policy import homecoming, maintenance, maintenance_forecast, procedure
from segue.policy.maintenance import Beside
from tests.policy.fleets import fleets

GIB = 1 << 30
KINDS = (
    StepKind.CORDON, StepKind.DRAIN, StepKind.RUN, StepKind.REBOOT, StepKind.HEALTH, StepKind.VERIFY,
    StepKind.UNCORDON,
)  # fmt: skip
FULL = tuple(Step(kind, script="true" if kind is StepKind.RUN else "") for kind in KINDS)
HOME = (*FULL, Step(StepKind.RETURN))


def even(hosts: int = 4, guests: int = 4, memory_gib: int = 16, rack: str = "r{}") -> Fleet:
    """Equal hosts, `guests` of 4 GiB on each."""
    return Fleet(
        tuple(
            FleetHost(f"h{n}", memory_gib * GIB, 16, labels={"rack": rack.format(n % 2)})
            for n in range(hosts)
        ),
        tuple(
            FleetGuest(f"g{n}-{k}", Amounts(4 * GIB, 1), f"h{n}", labels={"tenant": f"t{k % 2}"})
            for n in range(hosts)
            for k in range(guests)
        ),
    )


def order(scope: Scope, *, steps: tuple[Step, ...] = FULL, **strategy: object) -> Order:
    return Order("m", scope, steps, strategy=Strategy(**strategy))  # type: ignore[arg-type]


@st.composite
def rolls(draw: st.DrawFn) -> tuple[Fleet, Order, dict[str, HostWork]]:
    """A maintenance somewhere on its way through any fleet."""
    fleet = draw(fleets())
    names = [host.name for host in fleet.hosts]
    by_rack = draw(st.booleans())
    some = draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    rack = draw(st.sampled_from(sorted({host.labels["rack"] for host in fleet.hosts})))
    scope = Scope(label="rack", value=rack) if by_rack else Scope(hosts=tuple(some))
    made = order(
        scope,
        steps=draw(st.sampled_from([FULL, HOME])),
        at_once=draw(st.integers(0, 3)),
        per_domain=draw(st.sampled_from([{}, {"rack": 1}])),
        canary=draw(st.integers(0, 2)),
        bake_s=draw(st.sampled_from([0.0, 100.0])),
        failures=draw(st.integers(0, 2)),
    )
    works = {}
    for name in maintenance.hosts_of(fleet, scope):
        state = draw(st.sampled_from(HostState))
        step = draw(st.integers(0, len(made.procedure) - 1)) if state is HostState.WORKING else 0
        works[name] = HostWork(name, state, step, ended_s=draw(st.sampled_from([0.0, 950.0])))
    return fleet, made, works


@given(rolls(), st.sampled_from([500.0, 1000.0, 5000.0]))
def test_no_limit_is_broken_and_every_waiting_host_begins_or_has_a_reason(
    roll: tuple[Fleet, Order, dict[str, HostWork]], now_s: float
) -> None:
    fleet, made, works = roll
    found = maintenance.next_hosts(fleet, made, works, now_s)
    waiting = {name for name, work in works.items() if work.state is HostState.WAITING}
    working = {name for name, work in works.items() if work.state is HostState.WORKING}
    assert set(found.begin) | set(found.waits) == waiting
    assert not set(found.begin) & set(found.waits)
    assert all(found.waits.values())
    if not found.begin:
        return
    at_work = working | set(found.begin)
    if made.strategy.at_once:
        assert len(at_work) <= max(made.strategy.at_once, len(working))
    racks = {host.name: host.labels["rack"] for host in fleet.hosts}
    if made.strategy.per_domain:
        before = Counter(racks[name] for name in working)
        for rack, count in Counter(racks[name] for name in at_work).items():
            assert count <= max(1, before[rack])
    failed = [name for name, work in works.items() if work.state is HostState.FAILED]
    assert not made.strategy.failures or len(failed) < made.strategy.failures
    first = list(works)[: made.strategy.canary]
    if set(found.begin) - set(first):
        assert all(works[name].over and works[name].state is not HostState.FAILED for name in first)
        assert all(works[name].ended_s + made.strategy.bake_s <= now_s for name in first)


@given(rolls())
def test_no_guest_lands_on_a_host_at_work_nor_in_a_domain_that_is_maintained(
    roll: tuple[Fleet, Order, dict[str, HostWork]],
) -> None:
    fleet, made, works = roll
    found = maintenance.next_hosts(fleet, made, works, 1000.0)
    shut = maintenance.domain(fleet, made.scope) | set(found.begin)
    shut |= {name for name, work in works.items() if procedure.is_closed(made, work)}
    for move in found.plan.moves:
        assert move.target not in shut
    soon = [n for n, w in works.items() if w.state is HostState.WAITING and n not in found.begin]
    coming = set(soon[: max(1, made.strategy.at_once)])
    assert {move.guest for move in found.plan.moves if move.target in coming} <= found.twice


@given(rolls())
def test_a_host_begins_only_where_all_its_guests_can_leave(
    roll: tuple[Fleet, Order, dict[str, HostWork]],
) -> None:
    fleet, made, works = roll
    found = maintenance.next_hosts(fleet, made, works, 1000.0)
    going = {move.guest for move in found.plan.moves}
    staying = set(maintenance.moves(fleet, made, works).plan.staying)
    for guest in fleet.guests:
        if guest.host in found.begin:
            assert guest.name in going | staying, (guest, found)


@given(rolls())
def test_those_who_go_home_find_room_there_and_the_others_a_reason(
    roll: tuple[Fleet, Order, dict[str, HostWork]],
) -> None:
    fleet, made, works = roll
    for name, work in works.items():
        home = tuple(guest.name for guest in fleet.guests)[:3]
        works[name] = replace(work, home=home if work.state is HostState.WORKING else ())
    moves, staying = homecoming.plan(fleet, made, works)
    homes = homecoming.awaited(made, works)
    assert not {move.guest for move in moves} & set(staying)
    promised: Counter[str] = Counter()
    for guest in fleet.guests:
        promised[guest.host] += guest.needs.memory_bytes
        promised[guest.moving_to] += guest.needs.memory_bytes if guest.moving_to else 0
    room = {host.name: host.memory_bytes * host.memory_overcommit for host in fleet.hosts}
    for move in moves:
        assert homes[move.guest] == move.target
        guest = next(guest for guest in fleet.guests if guest.name == move.guest)
        promised[move.target] += guest.needs.memory_bytes
        assert promised[move.target] <= room[move.target]


def test_proven_capacity_says_how_many_go_at_once() -> None:
    # 16 of 16 GiB full on two hosts would need the room of two others.
    fleet = even(hosts=4, guests=2)
    made = order(Scope(hosts=("h0", "h1", "h2", "h3")), at_once=0)
    found = maintenance_forecast.foresee(fleet, made, 0.0)
    assert [len(batch.hosts) for batch in found.batches] == [2, 2]
    assert found.missing == ()
    tight = maintenance_forecast.foresee(even(hosts=4, guests=3), made, 0.0)
    assert [len(batch.hosts) for batch in tight.batches] == [1, 1, 1, 1]
    full = maintenance_forecast.foresee(even(hosts=4, guests=4), made, 0.0)
    assert full.batches == ()
    assert "short of memory" in full.missing[0]


def test_a_feed_is_emptied_at_once_into_the_other_one_or_not_at_all() -> None:
    fleet = even(hosts=4, guests=2)
    made = order(Scope(label="rack", value="r0"), at_once=0)
    found = maintenance_forecast.foresee(fleet, made, 0.0)
    assert [batch.hosts for batch in found.batches] == [("h0", "h2")]
    assert found.batches[0].moves == 4
    cannot = maintenance_forecast.foresee(even(hosts=4, guests=3), made, 0.0)
    assert len(cannot.missing) >= 1


def test_what_does_not_fit_the_window_is_said_before() -> None:
    fleet = even(hosts=3, guests=1)
    made = order(Scope(hosts=("h0", "h1", "h2")))
    made = replace(made, window=Window(begins_s=1000.0, ends_s=1000.0 + 1500.0))
    found = maintenance_forecast.foresee(fleet, made, 0.0)
    assert found.begins_s == 1000.0
    assert len(found.batches) == 2
    assert found.ends_s <= 2500.0
    assert "the window ends in" in found.missing[0]


def test_hosts_that_took_long_make_the_rest_take_longer() -> None:
    made = order(Scope(hosts=("h0", "h1")))
    passed = HostWork("h0", HostState.DONE)
    slow = replace(passed, passed=(Passed(3, "reboot", 0.0, 900.0, ok=True),))
    usual = procedure.fixed_s(made, {"h0": passed, "h1": HostWork("h1")})
    assert procedure.fixed_s(made, {"h0": slow, "h1": HostWork("h1")}) == usual + 600.0


def test_moves_of_one_tenant_wait_for_each_other() -> None:
    fleet = even(hosts=3, guests=4)
    moves = [Move(guest.name, guest.host, "h2", Outlook(1, 0.1, 1), "") for guest in fleet.guests[:4]]
    begun = maintenance.within_shares(moves, fleet, {"tenant": 1})
    assert [move.guest for move in begun] == ["g0-0", "g0-1"]
    busy = replace(fleet, guests=(replace(fleet.guests[0], moving_to="h1"), *fleet.guests[1:]))
    assert [move.guest for move in maintenance.within_shares(moves[1:], busy, {"tenant": 1})] == ["g0-1"]


def test_a_guest_goes_twice_only_where_nothing_else_has_room() -> None:
    fleet = even(hosts=2, guests=1)
    found = maintenance.next_hosts(
        fleet, order(Scope(hosts=("h0", "h1"))), {n: HostWork(n) for n in ("h0", "h1")}, 0.0
    )
    assert (found.begin, found.twice) == (("h0",), frozenset({"g0-0"}))


@given(st.lists(st.sampled_from(StepKind), min_size=1, max_size=9))
def test_a_procedure_without_faults_never_reboots_a_host_that_was_not_emptied(kinds: list[StepKind]) -> None:
    steps = tuple(Step(kind, script="true" if kind is StepKind.RUN else "") for kind in kinds)
    if procedure.faults(steps):
        return
    for number, step in enumerate(steps):
        earlier = {s.kind for s in steps[:number]}
        if step.kind is StepKind.REBOOT:
            assert {StepKind.CORDON, StepKind.DRAIN} <= earlier
            assert StepKind.UNCORDON not in earlier


@given(st.integers(0, 6), st.booleans())
def test_a_host_with_nothing_to_do_is_not_changed_any_more(step: int, skipping: bool) -> None:
    work = HostWork("h0", HostState.WORKING, step, skipping=skipping)
    number = procedure.following(HOME, work)
    assert number > step
    if skipping and number < len(HOME):
        assert HOME[number].kind in {StepKind.CORDON, StepKind.UNCORDON, StepKind.RETURN}


NEEDED = tuple(
    Step(step.kind, step.script, when_wanted=step.kind in {StepKind.DRAIN, StepKind.REBOOT}) for step in FULL
)


def test_guests_leave_only_where_the_host_wants_a_reboot() -> None:
    made = order(Scope(hosts=("h0", "h1")), steps=NEEDED, at_once=2)
    works = {
        "h0": HostWork("h0", HostState.WORKING, 1),
        "h1": HostWork("h1", HostState.WORKING, 1, wanted=True),
    }
    assert procedure.faults(NEEDED) == ()
    assert procedure.emptied(made, works) == ("h1",)
    assert {move.source for move in maintenance.moves(even(guests=2), made, works).plan.moves} == {"h1"}


def test_a_reboot_after_a_drain_by_need_is_one_by_need() -> None:
    careless = tuple(Step(s.kind, s.script, when_wanted=s.kind is StepKind.DRAIN) for s in NEEDED)
    assert any("`when: wanted`" in fault for fault in procedure.faults(careless))


def test_a_host_of_a_domain_that_waits_for_its_guests_lets_the_next_one_begin() -> None:
    made = order(Scope(label="rack", value="r0"), steps=HOME, at_once=1)
    works = {
        "h0": HostWork("h0", HostState.WORKING, len(HOME) - 1, home=("g0-0",)),
        "h2": HostWork("h2"),
    }
    assert maintenance.next_hosts(even(guests=1), made, works, 0.0).begin == ("h2",)


def test_a_host_in_other_hands_waits_and_takes_nobody_in() -> None:
    made = order(Scope(hosts=("h0", "h1")), at_once=2)
    works = {name: HostWork(name) for name in ("h0", "h1")}
    beside = Beside({"h0": "other"}, closed=frozenset({"h0", "h2"}), emptied=frozenset({"h0"}))
    found = maintenance.next_hosts(even(guests=1), made, works, 0.0, beside)
    assert (found.begin, found.waits) == (("h1",), {"h0": "the maintenance other works on it"})
    assert {move.target for move in found.plan.moves} == {"h3"}


def test_guests_that_have_to_leave_for_another_maintenance_need_room_too() -> None:
    fleet = even(hosts=3, guests=2)
    made = order(Scope(hosts=("h1",)))
    works = {"h1": HostWork("h1")}
    assert maintenance.next_hosts(fleet, made, works, 0.0).begin == ("h1",)
    beside = Beside({"h0": "other"}, closed=frozenset({"h0"}), emptied=frozenset({"h0"}))
    found = maintenance.next_hosts(fleet, made, works, 0.0, beside)
    assert found.begin == ()
    assert "cannot leave" in found.waits["h1"]


def test_a_host_that_left_the_fleet_ends_nobody_elses_work() -> None:
    works = {"h9": HostWork("h9", HostState.WORKING, 3), "h0": HostWork("h0")}
    found = maintenance.next_hosts(even(guests=1), order(Scope(hosts=("h9", "h0")), at_once=2), works, 0.0)
    assert found.begin == ("h0",)


def test_a_command_may_take_its_time_at_each_of_its_tries() -> None:
    step = Step(StepKind.RUN, script="true", within_s=10.0, retries=2)
    assert step.whole_s > 3 * step.limit_s
    assert Step(StepKind.DRAIN, within_s=10.0).whole_s == 10.0
