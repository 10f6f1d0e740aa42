"""Loops, contradictions and unknown names are found and explained; what passes can be planned for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model.balance import Temper
from segue.model.fleet import Amounts, Domain, Fleet, FleetGuest, FleetHost, Rule, Spread, Uplink
from segue.model.plan import Weight
from segue.policy import audit, balance, drain, placement, soundness
from tests.policy import fleets
from tests.policy.fleets import GIB
from tests.thorough import examples

HOSTS = (
    FleetHost("h1", 64 * GIB, 8, labels={"rack": "r1"}),
    FleetHost("h2", 64 * GIB, 8, labels={"rack": "r2"}),
)
WEB = {"app": "web"}


def guests(count: int, gib: int = 1) -> tuple[FleetGuest, ...]:
    return tuple(FleetGuest(f"g{n}", Amounts(gib * GIB, 1), labels=WEB) for n in range(count))


WRONG = {
    "a loop": (
        Fleet(
            HOSTS,
            domains=(
                Domain("rack", "r1", {"row": "a"}),
                Domain("row", "a", {"feed": "f"}),
                Domain("feed", "f", {"rack": "r1"}),
            ),
        ),
        "error: domain feed=f is within itself: "
        "feed=f, which is within rack=r1, which is within row=a, which is within feed=f",
    ),
    "itself": (
        Fleet(HOSTS, domains=(Domain("rack", "r1", {"rack": "r1"}),)),
        "error: domain rack=r1 is within itself: rack=r1, which is within rack=r1",
    ),
    "apart and together": (
        Fleet(
            HOSTS,
            guests(2),
            (Rule("near", Spread.TOGETHER, WEB), Rule("far", Spread.APART, WEB, domain="rack")),
        ),
        "error: rules near and far contradict each other: g0, g1 must share a host, and only 1 may share a rack",
    ),
    "too many": (
        Fleet(HOSTS, guests(3), (Rule("far", Spread.APART, WEB),)),
        "warning: rule far cannot be kept: 3 guests, 2 of host, 1 allowed in each",
    ),
    "too large together": (
        Fleet(HOSTS, guests(2, gib=40), (Rule("near", Spread.TOGETHER, WEB),)),
        "warning: rule near cannot be kept: no host is large enough for its 2 guests",
    ),
    "too large": (
        Fleet(HOSTS, guests(1, gib=80)),
        "warning: guest g0 fits on no host: h1, h2: 16.0 GiB short of memory",
    ),
    "nobody": (
        Fleet(HOSTS, guests(1), (Rule("db", Spread.APART, {"app": "db"}),)),
        "warning: rule db is for nobody: no guest has app=db",
    ),
    "no such label": (
        Fleet(HOSTS, guests(1), (Rule("far", Spread.APART, WEB, domain="feed"),)),
        "error: rule far cannot be kept: its domain is feed, a label that no host has",
    ),
    "no such host": (
        Fleet(HOSTS, (replace(guests(1)[0], host="h9"),)),
        "error: guest g0 is nowhere: it is said to be on h9, and there is no such host",
    ),
    "no such rack": (
        Fleet(HOSTS, uplinks=(Uplink("rack", "r9", 1.0),)),
        "error: uplink rack=r9 leads nowhere: no host has that label",
    ),
    "no such failure domain": (
        Fleet(HOSTS, failure_domains=("feed",)),
        "error: failure domain feed is unknown: no host has that label",
    ),
    "twice": (Fleet((HOSTS[0], HOSTS[0])), "error: host h1 is not described: it is there 2 times"),
    "none": (Fleet(), "error: nothing can be planned: there are no hosts"),
    "no link": (
        Fleet((replace(HOSTS[0], link_bytes_per_s=0.0),)),
        "error: host h1 is of no use: its link is 0",
    ),
    "no number": (
        Fleet((replace(HOSTS[0], cpus=float("nan")),)),
        "error: host h1 is of no use: its cpus is nan",
    ),
    "less than nothing": (
        Fleet(HOSTS, (FleetGuest("g", Amounts(-GIB, 1)),)),
        f"error: guest g cannot be placed: its memory is {-GIB:g}",
    ),
    "overfull": (
        Fleet(HOSTS, tuple(replace(g, host="h1") for g in guests(3, gib=30))),
        "warning: host h1 has promised more than it has: 26.0 GiB short of memory",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_it_is_found_and_explained(name: str) -> None:
    fleet, expected = WRONG[name]
    found = soundness.faults(fleet)
    assert expected in [f"{fault.weight}: {fault.what}: {fault.why}" for fault in found]
    assert all(fault.todo for fault in found)


def test_a_sound_fleet_has_no_faults_and_inherits_its_labels() -> None:
    fleet = Fleet(
        HOSTS,
        tuple(replace(g, host=f"h{n + 1}") for n, g in enumerate(guests(2))),
        (Rule("far", Spread.APART, WEB, domain="feed"),),
        domains=(
            Domain("rack", "r1", {"row": "a"}),
            Domain("rack", "r2", {"feed": "2"}),
            Domain("row", "a", {"feed": "1"}),
        ),
        failure_domains=("feed", "rack"),
    )
    assert soundness.faults(fleet) == ()
    assert [host.labels["feed"] for host in soundness.inherit(fleet).hosts] == ["1", "2"]


@given(fleets.fleets(), st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), max_size=6))
@settings(deadline=None, max_examples=examples(150))
def test_what_passes_can_be_planned_for(fleet: Fleet, within: list[tuple[str, str]]) -> None:
    domains = {value: Domain("row", value, {"row": outer}) for value, outer in within}
    fleet = replace(fleet, domains=tuple(domains.values()))
    if any(fault.weight is Weight.ERROR for fault in soundness.faults(fleet)):
        return
    whole = soundness.inherit(fleet)
    placement.place(FleetGuest("new", Amounts(GIB, 1)), whole)
    balance.plan(whole, Temper(), 0.0)
    drain.plan(whole, {whole.hosts[0].name})
    assert list(audit.audit(whole))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10))
def test_every_loop_is_found_and_nothing_else(edges: list[tuple[int, int]]) -> None:
    within = dict(edges)
    domains = tuple(Domain("row", str(inner), {"row": str(outer)}) for inner, outer in within.items())
    host = FleetHost("h", GIB, 1, labels={"row": "0"})

    def loops(start: int) -> bool:
        seen, now = set(), start
        while now in within and now not in seen:
            seen.add(now)
            now = within[now]
        return now in seen

    found = [
        fault for fault in soundness.faults(Fleet((host,), domains=domains)) if "within itself" in fault.what
    ]
    assert bool(found) == any(loops(start) for start in within)
