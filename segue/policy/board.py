"""A fleet as a planner's working table: who is where, what room is left, what a move would do to it. No I/O, no clock.

Room that a move frees counts only after `settle`: until then every move so far may be anywhere between not begun
and done, in any order, and no host has promised more than it has.
"""

from __future__ import annotations

from collections.abc import Collection

from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost, Load
from segue.policy import fit
from segue.policy.fit import SLACK
from segue.policy.spread import Spreading

NOWHERE = -1
Four = tuple[float, float, float, float]
"""Memory, vCPUs, processor load, network load."""


class Board:
    """Hosts and guests by number: their places in the fleet's tuples. Planners change it by `move` and `undo` alone."""

    def __init__(self, fleet: Fleet, closed: Collection[str] = ()) -> None:
        """closed: hosts that take nothing in, besides those that are cordoned."""
        self.fleet = fleet
        self.hosts, self.guests = fleet.hosts, fleet.guests
        self.host_number = {host.name: number for number, host in enumerate(fleet.hosts)}
        self.open = [not host.cordoned for host in fleet.hosts]
        self.spread = Spreading(fleet)
        self._kinds(fleet)
        self._rooms(fleet)
        self.at = [self.host_number.get(guest.host, NOWHERE) for guest in fleet.guests]
        self.on: list[set[int]] = [set() for _ in fleet.hosts]
        self.demand: list[Four] = [demand(guest) for guest in fleet.guests]
        self._left: dict[int, int] = {}
        for number, guest in enumerate(fleet.guests):
            if self.at[number] != NOWHERE:
                self._settle_in(number, self.at[number])
            if guest.moving_to in self.host_number:
                self._take(number, self.host_number[guest.moving_to])
                self.spread.hold(number, self.host_number[guest.moving_to])
        self.close([self.host_number[name] for name in closed])

    def _kinds(self, fleet: Fleet) -> None:
        wanted = sorted({label for guest in fleet.guests for label in guest.wants})
        guests: dict[tuple[object, ...], int] = {}
        hosts: dict[tuple[object, ...], int] = {}
        self.guest_kind = [guests.setdefault(fit.guest_kind(guest), len(guests)) for guest in fleet.guests]
        self.host_kind = [hosts.setdefault(fit.host_kind(host, wanted), len(hosts)) for host in fleet.hosts]
        self._a_host: dict[int, FleetHost] = dict(zip(self.host_kind, fleet.hosts, strict=True))
        self._kinds_for: dict[int, tuple[int, ...]] = {}

    def _rooms(self, fleet: Fleet) -> None:
        rooms = [fit.room(host) for host in fleet.hosts]
        self._memory: list[float] = [room.memory_bytes for room in rooms]
        self._vcpus = [room.vcpus for room in rooms]
        self._disk: list[float] = [room.disk_bytes for room in rooms]
        self._network = [room.network_bytes_per_s for room in rooms]
        self.share: list[list[float]] = [[0.0, 0.0, 0.0, 0.0] for _ in fleet.hosts]
        """What guests take of each host once the moves so far are done, as shares of its capacity."""
        self.inverse: list[Four] = [
            (_over(r.memory_bytes), _over(r.vcpus), _over(h.cpus), _over(h.network_bytes_per_s))
            for r, h in zip(rooms, fleet.hosts, strict=True)
        ]

    def suits(self, guest: int, host: int) -> bool:
        """True where the guest could be there if nobody else was."""
        return self.host_kind[host] in self.kinds_for(guest)

    def kinds_for(self, guest: int) -> tuple[int, ...]:
        """The kinds of host that suit the guest."""
        kind = self.guest_kind[guest]
        found = self._kinds_for.get(kind)
        if found is None:
            spec = self.guests[guest]
            suitable = (k for k, example in self._a_host.items() if not fit.obstacles(spec, example))
            found = self._kinds_for[kind] = tuple(suitable)
        return found

    def has_room(self, guest: int, host: int) -> bool:
        """True where what it needs is left, whatever the moves so far have come to."""
        needs = self.guests[guest].needs
        return (
            needs.memory_bytes <= self._memory[host]
            and needs.vcpus <= self._vcpus[host] + SLACK
            and needs.disk_bytes <= self._disk[host]
            and needs.network_bytes_per_s <= self._network[host] * (1 + SLACK)
        )

    def takes(self, guest: int, host: int) -> bool:
        """True where the guest may go: the host is open, suits, has room, and no hard rule is against it."""
        return (
            self.open[host]
            and host != self.at[guest]
            and self.has_room(guest, host)
            and self.suits(guest, host)
            and self.spread.allows(guest, self.at[guest], host)
        )

    def has_room_for_all(self, guests: Collection[int], host: int) -> bool:
        """True where all of them would fit."""
        needs = [self.guests[guest].needs for guest in guests]
        return (
            sum(each.memory_bytes for each in needs) <= self._memory[host]
            and sum(each.vcpus for each in needs) <= self._vcpus[host] + SLACK
            and sum(each.disk_bytes for each in needs) <= self._disk[host]
            and sum(each.network_bytes_per_s for each in needs) <= self._network[host] * (1 + SLACK)
        )

    def free(self, host: int) -> Amounts:
        """What is left to promise; below zero where the host has promised too much already."""
        return Amounts(int(self._memory[host]), self._vcpus[host], int(self._disk[host]), self._network[host])

    def overfull(self, host: int) -> bool:
        """True where more is promised than there is."""
        left = self.free(host)
        return min(left.memory_bytes, left.vcpus + SLACK, left.disk_bytes, left.network_bytes_per_s + 1) < 0

    def refusals(self, guest: int, host: int) -> tuple[str, ...]:
        """Every reason against it, in words; empty exactly where `takes` is true, its own host aside."""
        found = (
            ["is cordoned" if self.hosts[host].cordoned else "is to be emptied"]
            if not self.open[host]
            else []
        )
        found += fit.obstacles(self.guests[guest], self.hosts[host])
        found += fit.shortages(self.guests[guest].needs, self.free(host))
        broken = self.spread.broken_by(guest, self.at[guest], host)
        return (*found, *(self.spread.why(rule, host) for rule in broken if rule.hard))

    def move(self, guest: int, target: int) -> None:
        """The guest will be there; until `settle` it takes room on both. Once between two of those; unchecked."""
        source = self._left[guest] = self.at[guest]
        self._take(guest, target)
        self.spread.shift(guest, source, target)
        self._place(guest, source, target)

    def undo(self, guest: int) -> None:
        """Takes the guest's move back, whatever was moved since; not once it is settled."""
        source, target = self._left.pop(guest), self.at[guest]
        self._take(guest, target, -1)
        self.spread.shift(guest, source, target, -1)
        self._place(guest, target, source)

    def close(self, hosts: Collection[int]) -> None:
        """They take nothing in any more, as they are to be emptied."""
        for host in hosts:
            self.open[host] = False
            self.spread.empty(host, self.on[host])

    def reopen(self, hosts: Collection[int]) -> None:
        """Takes `close` back, and every move since."""
        for guest in list(self._left):
            self.undo(guest)
        for host in hosts:
            self.open[host] = not self.hosts[host].cordoned
            self.spread.empty(host, self.on[host], back=True)

    def settle(self) -> None:
        """All moves so far are done: the room that they left may be used."""
        for guest, source in self._left.items():
            if source != NOWHERE:
                self._take(guest, source, -1)
                self.spread.leave(guest, source, self.at[guest])
        self._left.clear()

    def _settle_in(self, guest: int, host: int) -> None:
        self._take(guest, host)
        self.spread.add(guest, host)
        self._place(guest, NOWHERE, host)

    def _take(self, guest: int, host: int, times: int = 1) -> None:
        needs = self.guests[guest].needs
        self._memory[host] -= times * needs.memory_bytes
        self._vcpus[host] -= times * needs.vcpus
        self._disk[host] -= times * needs.disk_bytes
        self._network[host] -= times * needs.network_bytes_per_s

    def _place(self, guest: int, source: int, target: int) -> None:
        self.at[guest] = target
        if source != NOWHERE:
            self.on[source].remove(guest)
            self._share(guest, source, -1.0)
        if target != NOWHERE:
            self.on[target].add(guest)
            self._share(guest, target, 1.0)

    def _share(self, guest: int, host: int, sign: float) -> None:
        memory, vcpus, load, network = self.demand[guest]
        over_memory, over_vcpus, over_load, over_network = self.inverse[host]
        share = self.share[host]
        share[0] += sign * memory * over_memory
        share[1] += sign * vcpus * over_vcpus
        share[2] += sign * load * over_load
        share[3] += sign * network * over_network


def demand(guest: FleetGuest) -> Four:
    """What it weighs. Load counts as the lower of its two spans: a spike moves nobody."""
    calm = calm_load(guest)
    return guest.needs.memory_bytes, guest.needs.vcpus, calm.cpu_cores, calm.network_bytes_per_s


def calm_load(guest: FleetGuest) -> Load:
    """The lower of both spans."""
    now, before = guest.load, guest.load_before or guest.load
    return Load(
        min(now.cpu_cores, before.cpu_cores), min(now.network_bytes_per_s, before.network_bytes_per_s)
    )


def peak_load(guest: FleetGuest) -> Load:
    """The higher of both spans: what a target has to be able to carry."""
    now, before = guest.load, guest.load_before or guest.load
    return Load(
        max(now.cpu_cores, before.cpu_cores), max(now.network_bytes_per_s, before.network_bytes_per_s)
    )


def _over(amount: float) -> float:
    return 1.0 / amount if amount else 0.0
