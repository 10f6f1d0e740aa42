"""Two never lead while clocks keep within the margin; epochs only grow."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import assume, given
from hypothesis import strategies as st

from segue.model.leadership import Tenure
from segue.model.store import Fence, Lease
from segue.policy import leadership


@dataclass(frozen=True)
class KeepAlive:
    """In true seconds: sent so long after the one before was confirmed or given up, on its way, answered or not."""

    pause_s: float
    way_s: float
    back_s: float
    answered: bool


keep_alives = st.lists(
    st.builds(KeepAlive, st.floats(0, 8), st.floats(0, 5), st.floats(0, 5), st.booleans()), max_size=12
)
rates = st.floats(1 - leadership.MARGIN / 2, 1 + leadership.MARGIN / 2)


@given(keep_alives, st.floats(1, 60), rates, st.floats(0, 1e6), st.floats(0, 5), st.floats(0, 5))
def test_a_leader_stops_before_its_lease_ends(
    course: list[KeepAlive], ttl_s: float, rate: float, zero_s: float, way_s: float, back_s: float
) -> None:
    """True time against the leader's own clock, which runs at another rate and began at another time."""

    def clock_s(true_s: float) -> float:
        return zero_s + rate * true_s

    tenure = Tenure("a", 1, Fence("k", 1), Lease(1, ttl_s), clock_s(0.0))
    now_s, lease_ends_s = way_s + back_s, way_s + ttl_s
    for each in course:
        assert_stops(tenure, now_s, lease_ends_s, rate, zero_s)
        sent_s = now_s + each.pause_s
        if sent_s + each.way_s > lease_ends_s:
            break  # the store says that the lease is gone
        if not leadership.may_act(tenure, clock_s(sent_s)):
            break  # it has stopped
        lease_ends_s = max(lease_ends_s, sent_s + each.way_s + ttl_s)
        now_s = sent_s + each.way_s + each.back_s
        if each.answered:
            tenure = Tenure("a", 1, tenure.fence, tenure.lease, clock_s(sent_s))
    assert_stops(tenure, now_s, lease_ends_s, rate, zero_s)


def assert_stops(tenure: Tenure, now_s: float, lease_ends_s: float, rate: float, zero_s: float) -> None:
    """At no instant at which another can lead may it act."""
    for true_s in (max(now_s, lease_ends_s), lease_ends_s, lease_ends_s + 1.0):
        assert not leadership.may_act(tenure, zero_s + rate * true_s)


@given(st.floats(1, 3600), st.floats(0, 1e9))
def test_it_renews_well_before_it_stops(ttl_s: float, now_s: float) -> None:
    tenure = Tenure("a", 1, Fence("k", 1), Lease(1, ttl_s), now_s)
    assume(leadership.may_act(tenure, now_s))
    rest_s = leadership.acts_until_s(tenure) - leadership.renews_at_s(tenure)
    assert rest_s >= 2.9 * (leadership.renews_at_s(tenure) - now_s)


@given(st.lists(st.integers(0, 1 << 50), min_size=1), st.integers(0, 1 << 50))
def test_epochs_only_grow_and_agents_heed_the_newest(seen: list[int], last: int) -> None:
    highest = 0
    for agents in seen:
        epoch = leadership.epoch_after(last, agents)
        assert epoch > last
        assert epoch > agents
        assert leadership.heeds(highest, epoch) is (epoch >= highest)
        last, highest = epoch, max(highest, epoch)
        assert not leadership.heeds(highest, epoch - 1)


@given(st.integers(-5, 0))
def test_no_epoch_is_no_command(told: int) -> None:
    assert not leadership.heeds(0, told)
