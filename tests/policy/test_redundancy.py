"""A feed or switch that several hosts say they have lost is a warning for the others of it, and for nobody else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from segue.model.answer import AnswerOrders, Report
from segue.model.fleet import Fleet, FleetHost
from segue.model.health import Kind, Level
from segue.policy import answer, redundancy

NOW_S = 1_000_000.0
GIB = 1 << 30


def fleet(*feeds: str) -> Fleet:
    return Fleet(
        tuple(FleetHost(f"h{n}", 8 * GIB, 8, labels={"feed": f} if f else {}) for n, f in enumerate(feeds))
    )


def lost(host: str, kind: Kind = Kind.POWER, age_s: float = 1.0) -> Report:
    return Report(
        host, Level.SUSPECT, NOW_S - age_s, NOW_S - 60, "psu2 is without power", "power-alarm", kind
    )


def test_half_of_a_feed_warns_the_other_half() -> None:
    found = answer.answer(fleet("a", "a", "a", "a", "b", ""), [lost("h0"), lost("h1")], (), NOW_S)
    assert {name: taint.hard for name, taint in found.taints.items()} == {
        "h0": True, "h1": True, "h2": False, "h3": False,
    }  # fmt: skip
    assert "h2 may have no spare: feed=a: 2 of its 4 hosts have lost a power supply" in found.alerts
    assert not found.evacuations


def test_one_host_or_two_sorts_of_parts_or_old_news_warn_nobody() -> None:
    seen = fleet("a", "a", "a")
    for told in ([lost("h0")], [lost("h0"), lost("h1", Kind.NIC)], [lost("h0"), lost("h1", age_s=5000)]):
        assert set(answer.answer(seen, told, (), NOW_S).taints) == {one.host for one in told}


@given(
    st.lists(st.sampled_from(["a", "b", ""]), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([Kind.POWER, Kind.NIC, Kind.DISK])), max_size=10),
)
def test_only_hosts_of_a_hurt_domain_that_say_nothing_are_warned(
    feeds: list[str], hurt: list[tuple[int, Kind]]
) -> None:
    seen = fleet(*feeds)
    reports = list({n: lost(f"h{n}", kind) for n, kind in hurt}.values())
    found = redundancy.warnings(seen, reports, AnswerOrders().domains, NOW_S, 600.0)
    said = {(one.host, one.kind) for one in reports}
    for name in found:
        feed = feeds[int(name[1:])]
        same = [f"h{n}" for n, other in enumerate(feeds) if other == feed]
        kinds = [kind for kind in (Kind.POWER, Kind.NIC) if (name, kind) not in said]
        counts = [sum((other, kind) in said for other in same) for kind in kinds]
        assert feed
        assert max(counts) >= max(2, len(same) / 2)
