"""Fleets for property tests, and a replay of plans that shares no code with the planners."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st

from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Load, Rule, Spread, Taint, Uplink
from segue.model.plan import Move, Plan, Wave

GIB = 1 << 30
LINK = 1.25e9
RACKS = ("r1", "r2", "r3")
APPS = ("web", "db", "mail")


@st.composite
def hosts(draw: st.DrawFn, least: int = 2, most: int = 5) -> tuple[FleetHost, ...]:
    """Large and small, some tainted, cordoned, without a network, or slow."""
    return tuple(
        FleetHost(
            name=f"h{number}",
            memory_bytes=draw(st.sampled_from([64, 64, 32, 16])) * GIB,
            cpus=draw(st.sampled_from([16, 16, 8, 4])),
            disk_bytes=draw(st.sampled_from([200, 200, 100, 0])) * GIB,
            network_bytes_per_s=draw(st.sampled_from([1e9, 1e9, 1e9, 0.0])),
            link_bytes_per_s=draw(st.sampled_from([LINK, LINK, LINK / 10])),
            cpu_overcommit=draw(st.sampled_from([4.0, 4.0, 1.0])),
            memory_overcommit=draw(st.sampled_from([1.0, 1.0, 1.5])),
            labels={"rack": draw(st.sampled_from(RACKS))},
            taints=draw(st.sampled_from([(), (), (), (), (), (Taint("lab"),), (Taint("old", hard=False),)])),
            cordoned=draw(st.sampled_from([False] * 6 + [True])),
            networks=draw(st.sampled_from([frozenset({"blue"})] * 4 + [frozenset[str]()])),
            runs_apps=draw(st.sampled_from([True] * 4 + [False])),
        )
        for number in range(draw(st.integers(least, most)))
    )


@st.composite
def guests(draw: st.DrawFn, names: Sequence[str], most: int = 10) -> tuple[FleetGuest, ...]:
    """Anywhere and nowhere, whether or not there is room."""
    found = []
    for number in range(draw(st.integers(min(2, most), most))):
        host = draw(st.sampled_from([*names, *names, ""]))
        elsewhere = [name for name in names if name != host]
        moving = draw(st.sampled_from([""] * 12 + elsewhere)) if host and elsewhere else ""
        load = draw(loads())
        found.append(
            FleetGuest(
                name=f"g{number}",
                needs=Amounts(
                    draw(st.sampled_from([1, 2, 3, 4, 6, 8, 12, 20])) * GIB,
                    draw(st.integers(1, 8)),
                    draw(st.sampled_from([0, 0, 0, 20])) * GIB,
                    draw(st.sampled_from([0.0, 0.0, 1e8])),
                ),
                host=host,
                moving_to=moving,
                pinned=draw(st.sampled_from([""] * 9 + ["a GPU"])),
                load=load,
                load_before=draw(st.none() | loads()),
                dirty_bytes_per_s=draw(st.sampled_from([0.0, 1e7, 5e8, 3e9])),
                working_set_bytes=draw(st.sampled_from([None, GIB // 10])),
                importance=draw(st.sampled_from([0, 0, 0, 3])),
                labels={"app": draw(st.sampled_from(APPS))},
                wants=draw(st.sampled_from([{}] * 6 + [{"rack": ("r1", "r2")}])),
                prefers=draw(st.sampled_from([{}, {}, {"rack": ("r1",)}])),
                tolerates=draw(st.sampled_from([frozenset[str](), frozenset({"lab"})])),
                networks=draw(st.sampled_from([frozenset[str](), frozenset[str](), frozenset({"blue"})])),
                is_app=draw(st.sampled_from([False] * 4 + [True])),
            )
        )
    return tuple(found)


def loads() -> st.SearchStrategy[Load]:
    """From idle to what a small host has."""
    return st.builds(Load, st.sampled_from([0.0, 0.25, 1.0, 3.0]), st.sampled_from([0.0, 1e7, 2e8]))


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    """Up to two, hard and soft, by host and by rack."""
    return tuple(
        Rule(
            name=f"rule{number}",
            spread=draw(st.sampled_from([Spread.APART, Spread.APART, Spread.TOGETHER])),
            members={"app": draw(st.sampled_from(APPS))},
            domain=draw(st.sampled_from(["host", "rack"])),
            at_most=draw(st.integers(1, 2)),
            hard=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 2)))
    )


@st.composite
def fleets(draw: st.DrawFn, most_hosts: int = 5, most_guests: int = 10) -> Fleet:
    """Whatever can be described, sensible or not."""
    machines = draw(hosts(most=most_hosts))
    names = [host.name for host in machines]
    racks = sorted({host.labels["rack"] for host in machines})
    uplinks = draw(st.sampled_from([(), (Uplink("rack", racks[0], LINK),)]))
    return Fleet(
        machines, draw(guests(names, most_guests)), draw(rules()), uplinks, failure_domains=("rack",)
    )


@dataclass(frozen=True)
class Promised:
    """What a host has promised, or may promise at most."""

    memory: float
    vcpus: float
    disk: float
    network: float

    def exceeds(self, most: Promised) -> bool:
        return (
            self.memory > most.memory
            or self.vcpus > most.vcpus + 1e-6
            or self.disk > most.disk
            or self.network > most.network + 1
        )


def capacity(host: FleetHost) -> Promised:
    return Promised(
        int(host.memory_bytes * host.memory_overcommit),
        host.cpus * host.cpu_overcommit,
        host.disk_bytes,
        host.network_bytes_per_s,
    )


def places(fleet: Fleet) -> dict[str, set[str]]:
    """guest -> every host on which it takes room."""
    return {guest.name: {name for name in (guest.host, guest.moving_to) if name} for guest in fleet.guests}


def promised(fleet: Fleet, where: dict[str, set[str]], host: str) -> Promised:
    needs = [guest.needs for guest in fleet.guests if host in where[guest.name]]
    return Promised(
        sum(each.memory_bytes for each in needs),
        sum(each.vcpus for each in needs),
        sum(each.disk_bytes for each in needs),
        sum(each.network_bytes_per_s for each in needs),
    )


def worst_moments(fleet: Fleet, plan: Plan) -> Iterator[tuple[Wave, dict[str, set[str]]]]:
    """Each wave at its worst: all of its moves under way, none of them over. Before it, those before it are over."""
    where = places(fleet)
    for wave in plan.waves:
        for move in wave.moves:
            where[move.guest] = where[move.guest] | {move.target}
        yield wave, {guest: set(found) for guest, found in where.items()}
        for move in wave.moves:
            where[move.guest] = where[move.guest] - {move.source}


def demand_never_too_much(fleet: Fleet, plan: Plan) -> None:
    """No target has promised more than it may at any moment, in whatever order a wave's moves run."""
    by_name = {host.name: host for host in fleet.hosts}
    for wave, where in worst_moments(fleet, plan):
        for target in {move.target for move in wave.moves}:
            now = promised(fleet, where, target)
            assert not now.exceeds(capacity(by_name[target])), (target, now, capacity(by_name[target]))


def demand_apart(fleet: Fleet, plan: Plan) -> None:
    """No hard apart rule is broken by a move, at any moment."""
    by_name = {host.name: host for host in fleet.hosts}
    for wave, where in worst_moments(fleet, plan):
        for rule in fleet.rules:
            if not rule.hard or rule.spread is not Spread.APART:
                continue
            counts: Counter[str] = Counter()
            for guest in fleet.guests:
                if rule.takes(guest):
                    counts.update({by_name[name].domain(rule.domain) for name in where[guest.name]})
            for move in wave.moves:
                guest = next(each for each in fleet.guests if each.name == move.guest)
                into = by_name[move.target].domain(rule.domain)
                if rule.takes(guest) and into != by_name[move.source].domain(rule.domain):
                    assert counts[into] <= rule.at_most, (rule, into, counts)


def demand_suitable(fleet: Fleet, plan: Plan) -> None:
    """Every target is one that the guest can be on; who must not move does not."""
    by_name = {host.name: host for host in fleet.hosts}
    known = {guest.name: guest for guest in fleet.guests}
    for move in plan.moves:
        guest, target = known[move.guest], by_name[move.target]
        assert not guest.pinned
        assert not guest.moving_to
        assert not target.cordoned
        assert guest.networks <= target.networks
        assert all(not t.hard or t.name in guest.tolerates for t in target.taints)
        assert all(target.labels.get(label) in values for label, values in guest.wants.items())


def once(moves: Iterable[Move]) -> bool:
    """True where no guest is moved twice."""
    return max(Counter(move.guest for move in moves).values(), default=0) <= 1


def after(fleet: Fleet, done: Iterable[Move], under_way: Iterable[Move] = ()) -> Fleet:
    """The fleet once some moves are done and others are under way."""
    now = {move.guest: move.target for move in done}
    soon = {move.guest: move.target for move in under_way}
    return replace(
        fleet,
        guests=tuple(
            replace(
                guest, host=now.get(guest.name, guest.host), moving_to=soon.get(guest.name, guest.moving_to)
            )
            for guest in fleet.guests
        ),
    )
