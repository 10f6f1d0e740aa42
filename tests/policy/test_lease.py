"""A lease that is over is a proof: whatever is delayed, stopped, killed or wrong about the time, nothing runs then."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.model.lease import Charter, Deeds, Terms, Watched
from segue.policy import lease
from segue.policy.leadership import EPOCHS_LEFT_OUT
from tests.thorough import examples

TERMS = st.builds(Terms, st.floats(1.0, 60.0), st.floats(1.0, 10.0))
NAMES = ("host1", "host2", "host3", "host4", "host5")


@dataclass
class Peer:
    """Grants until it refuses; what it has written it never forgets."""

    denies: bool = False


@dataclass
class Host:
    """One host with a guest under its guard, in true time: `rate` turns that into what its clock says.

    Anybody may stop the guard and the agent at any point and for any time; the watchdog's own clock has a rate, too.
    """

    terms: Terms
    rate: float
    watchdog_rate: float
    watched: Watched = field(default_factory=Watched)
    living: bool = True
    killed_at: float = float("inf")
    dies_s: float = 0.0
    """From the signal to the end of the process."""
    fed_at: float = 0.0

    def clock(self, at: float) -> float:
        return at * self.rate

    def is_reset(self, at: float) -> bool:
        return (at - self.fed_at) * self.watchdog_rate >= self.terms.watchdog_s

    def runs(self, at: float) -> bool:
        """Killed ones may still run until they are gone, to be on the safe side."""
        return self.living and at < self.killed_at + self.dies_s and not self.is_reset(at)


class Play:
    """One schedule. Between any two steps any time passes, but the clocks' rates stay within the promised error."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        hosts = chance.choice((3, 4, 5))
        self.voters = NAMES[:hosts]
        self.peers = {name: Peer() for name in self.voters[1:]}
        terms = Terms(chance.uniform(1, 20), chance.uniform(1, 6))
        self.host = Host(
            terms, self.rate(), self.rate(), dies_s=chance.choice((0.0, 1.0, lease.KILL_S, 40.0))
        )
        self.controller_rate = self.rate()
        self.now = 0.0
        self.said: list[tuple[float, set[str]]] = []
        """Rounds of the agent: when it asked, by its own clock, and who has granted."""
        self.trouble = 0.0
        """How often something takes long."""

    def rate(self) -> float:
        return 1 + self.chance.uniform(-lease.RATE, lease.RATE)

    def rest(self) -> float:
        """As a rule moments; once the fleet is in trouble now and then longer than anything else here."""
        scale = self.chance.choice((0.5, 2.0, 10.0, 40.0)) if self.chance.random() < self.trouble else 0.1
        return self.chance.uniform(0, scale)

    def begin(self) -> None:
        self.host.fed_at = self.now
        until = self.host.clock(self.now) + self.host.terms.lease_s
        self.host.watched = lease.begun(self.host.watched, until, self.host.clock(self.now), 0)

    def step(self) -> None:
        self.chance.choice((self.agent_asks, self.peer_hears, self.agent_tells, self.guard_looks))()

    def agent_asks(self) -> None:
        self.said.append((self.host.clock(self.now), {self.voters[0]}))

    def peer_hears(self) -> None:
        """A question of any age; the answer may be lost, or come as late as it likes."""
        if self.said and self.chance.random() < 0.8:
            name, (_, granted) = self.chance.choice(self.voters[1:]), self.chance.choice(self.said)
            if not self.peers[name].denies:
                granted.add(name)

    def agent_tells(self) -> None:
        """Any round that a majority has granted, also an old one."""
        self.said = self.said[-20:]
        ready = [asked for asked, granted in self.said if lease.is_majority(granted, self.voters)]
        if ready and not self.host.is_reset(self.now):
            until = self.chance.choice(ready) + self.host.terms.lease_s
            self.host.watched = lease.renewed(self.host.watched, until, self.host.clock(self.now))

    def guard_looks(self) -> None:
        """Its look, and what follows from it, with any pause before each deed."""
        host = self.host
        if host.is_reset(self.now):
            host.living = False
            return
        clock = host.clock(self.now)
        host.watched = lease.seen_at(host.watched, clock)
        living = int(host.living and self.now < host.killed_at + host.dies_s)
        found = lease.deeds(host.watched, clock, living)
        if self.chance.random() < 0.3:
            # It is stopped here, at times until just before its watchdog bites.
            until = host.fed_at + host.terms.watchdog_s / host.watchdog_rate - 0.001
            is_long = self.chance.random() < self.trouble and until > self.now
            self.pass_by(until - self.now if is_long else self.rest())
        if host.is_reset(self.now):
            host.living = False
            return
        if found.kill:
            host.killed_at = min(host.killed_at, self.now)
        if found.feed:
            host.fed_at = self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def run_guarded(self, seconds: float) -> None:
        """Steps in a random order and pace."""
        until = self.now + seconds
        while self.now < until:
            self.step()
            self.pass_by(min(self.rest(), max(0.0, until - self.now) + 0.001))


def check(seed: int) -> None:
    """At the moment of the proof, and at any later one, the guest does not run on its old host."""
    play = Play(random.Random(seed))
    play.begin()
    play.run_guarded(play.chance.uniform(0, 2 * play.host.terms.lease_s))
    play.trouble = play.chance.choice((0.0, 0.02, 0.1, 0.5))
    charter = Charter("host1", 1, play.voters, play.host.terms, held=True)
    refusing: list[str] = []
    while not lease.are_refused(charter, refusing):
        name = play.chance.choice(play.voters[1:])
        play.peers[name].denies = True
        refusing.append(name)
        play.run_guarded(play.chance.uniform(0, 1))
    until = play.now + lease.longest_wait_s(charter) / play.controller_rate
    while play.now < until:
        play.step()
        play.pass_by(min(play.rest(), max(0.0, until - play.now) + 1e-9))
    for _ in range(20):
        assert not play.host.runs(play.now), (seed, play.host)
        play.step()
        play.pass_by(play.rest())


def _check_all() -> None:
    for seed in range(2000):
        check(seed)


@pytest.mark.parametrize("tens", range(30))
def test_nothing_runs_once_a_controller_has_waited(tens: int) -> None:
    """Never two, in 300 schedules; that they can fail is the next test."""
    for number in range(10):
        check(10 * tens + number)


@pytest.mark.parametrize(
    "wrong",
    [
        ("longest_wait_s", lambda charter: charter.terms.lease_s),
        ("longest_wait_s", lambda charter: lease.wait_s(charter.terms) - charter.terms.watchdog_s - 1),
        ("are_refused", lambda charter, refusing: len(refusing) > 0),
        ("renewed", lambda watched, until_s, now_s: replace(watched, deadline_s=max(until_s, now_s + 20))),
        ("deeds", lambda watched, now_s, living: Deeds(kill=watched.over, feed=True)),
    ],
)
def test_a_rule_that_is_wrong_is_found(wrong: tuple[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, *wrong)
    with pytest.raises(AssertionError):
        _check_all()


def test_a_wait_without_the_second_feeding_would_not_do() -> None:
    """The figure is not larger than it has to be for nothing: with one watchdog less some schedule runs twice."""
    terms = Terms(5.0, 4.0)
    host = Host(terms, 1.0, 1.0, watched=Watched(5.0, over=False), fed_at=4.99)
    host.fed_at = (
        4.99 + terms.watchdog_s - 0.01
    )  # Looked in time, was stopped, and fed just before the reset.
    short_s = terms.lease_s + terms.watchdog_s + lease.RESET_S
    assert host.runs(short_s)
    assert not host.runs(lease.wait_s(terms))


@given(TERMS, st.floats(-lease.RATE, lease.RATE), st.floats(-lease.RATE, lease.RATE))
def test_the_wait_outlasts_the_host_whatever_the_two_clocks_do(
    terms: Terms, here: float, there: float
) -> None:
    """From the host's asking, at true time 0, to the reset by a watchdog that was fed once too late."""
    last_true_s = (terms.lease_s + lease.KILL_S) / (1 + there) + 2 * terms.watchdog_s / (1 - lease.RATE)
    assert lease.wait_s(terms) / (1 + here) >= last_true_s


@given(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)), st.integers(3, 5))
def test_a_majority_that_refuses_leaves_none_that_grants(
    granted: set[str], refused: set[str], size: int
) -> None:
    voters = NAMES[:size]
    refused -= {"host1"}
    granted = (granted - refused) | {"host1"}
    charter = Charter("host1", 1, voters, Terms(8, 4), held=True)
    if lease.are_refused(charter, refused):
        assert not lease.is_majority(granted, voters)


@given(st.lists(st.sets(st.sampled_from(NAMES), min_size=3), min_size=1, max_size=4), st.data())
def test_until_a_host_has_said_by_which_voters_it_goes_all_have_to_refuse(
    sets: list[set[str]], data: st.DataObject
) -> None:
    """It goes by one of those of which it was told since its last word; each of them counts, and so does each time."""
    charter = None
    since_ack: list[set[str]] = []
    for voters in sets:
        charter = lease.adapted(charter, "host1", voters, Terms(data.draw(st.floats(4, 20)), 4))
        since_ack.append(voters)
        if data.draw(st.booleans()):
            charter = lease.acknowledged(charter, charter.number, 7, apps=True)
            since_ack = [voters]
    assert charter is not None
    charter = replace(charter, held=True)
    refusing = data.draw(st.sets(st.sampled_from(NAMES[1:])))
    if lease.are_refused(charter, refusing):
        assert all(lease.is_majority(refusing, voters) for voters in since_ack)


@given(st.sets(st.integers(1, 300), min_size=3, max_size=60), st.integers(1, 300))
def test_a_host_keeps_most_of_its_voters_when_the_fleet_changes(numbers: set[int], new: int) -> None:
    fleet = {f"host{number}" for number in numbers}
    host = min(fleet)
    before, after = lease.chosen(host, fleet), lease.chosen(host, fleet | {f"host{new}"})
    assert host in before
    assert len(before) == min(len(fleet), lease.VOTERS_MOST)
    assert len(set(before) - set(after)) <= 1


@given(st.floats(4, 20), st.floats(4, 20))
def test_times_only_get_longer(first: float, then: float) -> None:
    charter = lease.acknowledged(lease.adapted(None, "host1", NAMES, Terms(first, 4)), 1, 1, apps=True)
    changed = lease.adapted(charter, "host1", NAMES, Terms(then, 4))
    assert lease.longest_wait_s(lease.acknowledged(changed, changed.number, 1, apps=True)) >= lease.wait_s(
        Terms(first, 4)
    )


def test_a_host_that_has_not_said_so_is_not_counted_on_nor_is_a_charter_of_a_backup() -> None:
    charter = lease.adapted(None, "host1", NAMES[:3], Terms(8, 4))
    assert not lease.are_refused(charter, NAMES)
    held = lease.acknowledged(charter, charter.number, 5, apps=True)
    assert lease.are_refused(held, NAMES)
    assert lease.acknowledged(charter, charter.number + 1, 5, apps=True) == charter
    assert held.apps
    assert not lease.acknowledged(held, held.number, 6, apps=False).apps, "its agent is an older one now"
    assert not lease.acknowledged(held, held.number + 1, 6, apps=False).apps
    assert lease.counts(held, 6)
    assert not lease.counts(held, 5 + EPOCHS_LEFT_OUT)
    assert not lease.counts(held, 4)


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 200), st.integers(0, 3))
@settings(max_examples=examples(200))
def test_a_lease_that_is_over_stays_so_until_nothing_is_left(
    ends: float, now: float, until: float, living: int
) -> None:
    seen = lease.seen_at(Watched(ends, over=False), now)
    assert lease.renewed(seen, until, now).over == (now >= ends)
    again = lease.begun(seen, until, now, living)
    if seen.over:
        assert again.over == (living > 0 or until <= now)
    deeds = lease.deeds(seen, now, living)
    assert deeds.kill == (seen.over and living > 0)
    assert deeds.feed or (living > 0 and now >= ends + lease.KILL_S)
