"""The answer to failing hosts: caps, storms, targets, order; over random fleets and reports."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from segue.model.answer import Answer, AnswerOrders, Report, StormKind
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost
from segue.model.health import History, Kind, Level, Memory
from segue.policy import answer as policy
from segue.policy import health
from tests.policy import fleets
from tests.policy.health_worlds import DISK, Watcher

NOW_S = 1_000_000.0
RULES = ("memory-burst", "disk-verdict", "nic-down")


@st.composite
def cases(draw: st.DrawFn) -> tuple[Fleet, tuple[Report, ...], set[str], AnswerOrders]:
    hosts = draw(fleets.hosts(least=2, most=12))
    names = [host.name for host in hosts]
    guests = draw(fleets.guests(names))
    reports = tuple(
        Report(
            host=name,
            level=draw(st.sampled_from([Level.FAILING, Level.FAILING, Level.SUSPECT, Level.HEALTHY])),
            at_s=NOW_S - draw(st.sampled_from([1.0, 1.0, 30.0, 5_000.0])),
            since_s=NOW_S - draw(st.sampled_from([60.0, 60.0, 90_000.0])),
            text=f"what is wrong with {name}",
            rule=draw(st.sampled_from(RULES)),
            kind=draw(st.sampled_from([Kind.MEMORY, Kind.DISK])),
        )
        for name in [*names, "a host nobody knows"]
        if draw(st.booleans())
    )
    orders = AnswerOrders(
        at_once=draw(st.integers(0, 4)),
        share_at_once=draw(st.sampled_from([0.1, 0.5])),
        trusted=frozenset(draw(st.sets(st.sampled_from(RULES), max_size=1))),
        approved=frozenset(draw(st.sets(st.sampled_from(names), max_size=2))),
    )
    evacuating = draw(st.sets(st.sampled_from(names), max_size=2))
    return Fleet(hosts=hosts, guests=guests), reports, evacuating, orders


@given(cases())
def test_the_caps_hold_and_every_failing_host_is_accounted_for(
    case: tuple[Fleet, tuple[Report, ...], set[str], AnswerOrders],
) -> None:
    fleet, reports, evacuating, orders = case
    found = policy.answer(fleet, reports, evacuating, NOW_S, orders)
    chosen = {one.host for one in found.evacuations}
    most = min(orders.at_once, max(1, int(orders.share_at_once * len(fleet.hosts))))
    assert len(chosen | evacuating) <= max(most, len(evacuating))
    assert not chosen & evacuating
    fresh = {
        one.host
        for one in reports
        if one.level is Level.FAILING and NOW_S - one.at_s <= 600 and one.host.startswith("h")
    }
    held = {one.host for one in found.held}
    lived_in = {guest.host for guest in fleet.guests}
    assert chosen | held == fresh & lived_in - evacuating, "silence, old news and empty hosts empty nobody"
    assert not chosen & held
    assert all(one.why and one.todo for one in found.held)
    failing = {one.host for one in reports if one.level is Level.FAILING and one.host in names_of(fleet)}
    spent = failing - (lived_in - evacuating)
    more = chosen - orders.approved
    assert not more or len(spent | more) <= max(1, int(orders.storm_share * len(fleet.hosts)))


def names_of(fleet: Fleet) -> set[str]:
    return {host.name for host in fleet.hosts}


@given(cases())
def test_no_lying_sensor_closes_the_whole_fleet(
    case: tuple[Fleet, tuple[Report, ...], set[str], AnswerOrders],
) -> None:
    fleet, reports, _, _ = case
    names = names_of(fleet)
    told = [one for one in reports if one.host in names]
    hard = {name for name, taint in policy.taints(told, len(names)).items() if taint.hard}
    assert hard < names


def test_hosts_that_fail_one_after_the_other_are_given_up_to_a_quarter_of_the_fleet_only() -> None:
    """Each alone, more than an hour after the last: no storm, and yet a firmware that counts wrong comes to all."""
    fleet, emptied = small(20), list[str]()
    for hour in range(20):
        now_s = NOW_S + hour * 7_200
        reports = [
            replace(one, at_s=now_s, since_s=NOW_S + n * 7_200)
            for n, one in enumerate(failing(*(f"h{n}" for n in range(hour + 1))))
        ]
        found = policy.answer(fleet, reports, (), now_s)
        assert not found.storms
        for one in found.evacuations:
            emptied.append(one.host)
            left = tuple(guest for guest in fleet.guests if guest.host != one.host)
            fleet = replace(fleet, guests=left)
    assert len(emptied) == 5
    assert "5 hosts are empty for their health already" in found.held[0].why


@given(st.lists(st.tuples(st.floats(0.0, 60.0), st.floats(-1e9, 1e9)), min_size=1, max_size=20))
def test_a_hosts_clock_hides_no_storm_and_one_trouble_keeps_its_beginning(
    looks: list[tuple[float, float]],
) -> None:
    """The agent judges every 30 s at least, by its own clock, which anybody may set meanwhile."""
    now_s, known, began_s = NOW_S, cast("Report | None", None), NOW_S - 50
    first_off_s = looks[0][1]
    for rest_s, off_s in looks:
        judged_s = now_s - min(rest_s, 30.0)
        told = failing("h0")[0]
        told = replace(told, at_s=judged_s + off_s, since_s=began_s + first_off_s)
        seen = policy.ours(told, now_s, known)
        assert abs(seen.since_s - began_s) <= 31
        assert known is None or seen.since_s == known.since_s
        known, now_s = seen, now_s + rest_s


@given(cases())
def test_a_storm_waits_for_a_person_or_a_rule(
    case: tuple[Fleet, tuple[Report, ...], set[str], AnswerOrders],
) -> None:
    fleet, reports, evacuating, orders = case
    found = policy.answer(fleet, reports, evacuating, NOW_S, orders)
    rule = {one.host: one.rule for one in reports}
    caught = {host for storm in found.storms for host in storm.hosts}
    for one in found.evacuations:
        assert one.host not in caught or one.host in orders.approved or rule[one.host] in orders.trusted


@given(cases())
def test_who_is_in_trouble_takes_nothing_in(
    case: tuple[Fleet, tuple[Report, ...], set[str], AnswerOrders],
) -> None:
    fleet, reports, evacuating, orders = case
    found = policy.answer(fleet, reports, evacuating, NOW_S, orders)
    names = {host.name for host in fleet.hosts}
    ill = {one.host for one in reports if one.level is not Level.HEALTHY} & names
    assert set(found.taints) == ill
    assert len(found.alerts) == len(ill)
    assert (found.plan is None) == (not found.evacuations)
    if found.plan is not None:
        moves = [move for wave in found.plan.waves for move in wave.moves]
        assert not {move.target for move in moves} & (ill | evacuating)
        accounted = {move.guest for move in moves} | set(found.plan.staying)
        leaving = {guest for one in found.evacuations for guest in one.guests}
        assert leaving <= accounted, "every guest moves, or it is said why not"


@given(cases())
def test_the_important_leave_first(case: tuple[Fleet, tuple[Report, ...], set[str], AnswerOrders]) -> None:
    fleet, reports, evacuating, orders = case
    importance = {guest.name: guest.importance for guest in fleet.guests}
    for one in policy.answer(fleet, reports, evacuating, NOW_S, orders).evacuations:
        ranks = [importance[guest] for guest in one.guests]
        assert ranks == sorted(ranks, reverse=True)


def small(hosts: int, **labels: str) -> Fleet:
    made = tuple(
        FleetHost(
            f"h{n}", 64 << 30, 16, labels={label: value.format(n % 4) for label, value in labels.items()}
        )
        for n in range(hosts)
    )
    others = tuple(FleetGuest(f"g{n}", Amounts(1 << 30, 1), host=f"h{n}") for n in range(1, hosts))
    guests = (
        *others,
        FleetGuest("web", Amounts(2 << 30, 1), host="h0", importance=1),
        FleetGuest("db", Amounts(4 << 30, 2, disk_bytes=10 << 30), host="h0", importance=9),
    )
    return Fleet(hosts=made, guests=guests)


def failing(*names: str, rule: str = "memory-burst", kind: Kind = Kind.MEMORY) -> list[Report]:
    return [Report(name, Level.FAILING, NOW_S, NOW_S - 60, f"{name} is bad", rule, kind) for name in names]


def kinds(found: Answer) -> set[StormKind]:
    return {storm.kind for storm in found.storms}


def test_one_failing_host_is_emptied_the_important_first() -> None:
    found = policy.answer(small(20), failing("h0"), (), NOW_S)
    assert [one.host for one in found.evacuations] == ["h0"]
    assert found.evacuations[0].guests == ("db", "web")
    assert not found.evacuations[0].storage_post_copy
    assert found.taints["h0"].hard


def test_a_failing_disk_is_pulled_after_the_guest() -> None:
    found = policy.answer(small(20), failing("h0", rule="disk-verdict", kind=Kind.DISK), (), NOW_S)
    assert found.evacuations[0].storage_post_copy


def test_one_sensor_on_three_hosts_is_a_storm_and_a_persons_word_ends_it() -> None:
    found = policy.answer(small(100), failing("h0", "h1", "h2"), (), NOW_S)
    assert (kinds(found), found.evacuations) == ({StormKind.RULE}, ())
    assert "does that sensor lie?" in found.held[0].why
    approved = AnswerOrders(approved=frozenset({"h1"}))
    assert [
        e.host for e in policy.answer(small(100), failing("h0", "h1", "h2"), (), NOW_S, approved).evacuations
    ] == ["h1"]
    trusted = AnswerOrders(trusted=frozenset({"memory-burst"}), at_once=2)
    assert len(policy.answer(small(100), failing("h0", "h1", "h2"), (), NOW_S, trusted).evacuations) == 2


def test_two_hosts_with_the_same_trouble_are_no_storm() -> None:
    found = policy.answer(small(100), failing("h0", "h1"), (), NOW_S)
    assert (found.storms, len(found.evacuations), len(found.held)) == ((), 1, 1)
    assert "only so many hosts" in found.held[0].why


def test_a_whole_rack_is_a_storm() -> None:
    fleet = small(8, rack="r{}")
    bad = [*failing("h1"), *failing("h5", rule="nic-down")]
    assert kinds(policy.answer(fleet, bad, (), NOW_S)) == {StormKind.DOMAIN}
    spread = [*failing("h1"), *failing("h6", rule="nic-down")]
    assert kinds(policy.answer(fleet, spread, (), NOW_S)) == set()


def test_a_third_of_the_fleet_is_a_storm() -> None:
    bad = [report for n, rule in enumerate(RULES) for report in failing(f"h{n}", rule=rule)]
    assert kinds(policy.answer(small(9), bad, (), NOW_S)) == {StormKind.FLEET}
    old = [replace(report, since_s=NOW_S - 90_000) for report in bad]
    assert kinds(policy.answer(small(9), old, (), NOW_S)) == set(), "they did not begin at once"


def test_many_suspects_only_push_guests_away_softly() -> None:
    ill = [Report(f"h{n}", Level.SUSPECT, NOW_S, NOW_S, "x", "hot", Kind.TEMPERATURE) for n in range(6)]
    assert {taint.hard for taint in policy.answer(small(8), ill, (), NOW_S).taints.values()} == {False}
    assert {taint.hard for taint in policy.answer(small(8), ill[:2], (), NOW_S).taints.values()} == {True}


def test_a_host_in_one_line() -> None:
    watch = Watcher()
    for _ in range(2):
        verdict = watch.see(1, DISK, "smart_failed", "smart")
        watch.rest()
    seen = health.of_host("host1", watch.judge(), watch.history, watch.memory, watch.now_s)
    told = policy.report(seen)
    assert (told.level, told.rule, told.kind) == (Level.FAILING, "disk-verdict", Kind.DISK)
    assert told.text == verdict.reasons[0].text
    well = health.of_host("host2", (), History(), Memory(), 5.0)
    assert policy.report(well) == Report("host2", Level.HEALTHY, 5.0)


def test_what_could_not_leave_takes_nobodys_turn() -> None:
    bad = [*failing("h0"), *failing("h1", rule="nic-down")]
    found = policy.answer(small(100), bad, (), NOW_S, tried={"h0": "db is pinned"})
    assert [one.host for one in found.evacuations] == ["h1"]
    assert "db is pinned" in found.held[0].why
