"""Finds what is wrong with the description of a fleet before a planner stumbles over it; every fault says what to do.

An error makes plans meaningless; a warning is a wish that cannot be fulfilled, which planners live with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from math import inf

from segue.model.fleet import HOST_DOMAIN, Amounts, Domain, Fleet, FleetGuest, FleetHost, Rule, Spread
from segue.model.plan import Fault, Weight
from segue.policy import fit, reasons
from segue.policy.board import Board

Labels = dict[str, str]
Key = tuple[str, str]


def faults(fleet: Fleet) -> tuple[Fault, ...]:
    """Everything that is wrong. The second half is looked at only where names and numbers are right."""
    found = [*_names(fleet), *_numbers(fleet), *_loops(fleet), *_references(fleet)]
    if not any(fault.weight is Weight.ERROR for fault in found):
        whole = inherit(fleet)
        found += [*_contradictions(whole), *_impossible_rules(whole), *_impossible_guests(whole)]
    return tuple(found)


def inherit(fleet: Fleet) -> Fleet:
    """The fleet with the labels that hosts have by being in a domain. A host's own label wins. No loops: see faults."""
    domains = {(domain.label, domain.value): domain for domain in fleet.domains}
    if not domains:
        return fleet
    return replace(fleet, hosts=tuple(_inherited(host, domains) for host in fleet.hosts))


def _inherited(host: FleetHost, domains: Mapping[Key, Domain]) -> FleetHost:
    labels: Labels = dict(host.labels)
    open_ = list(labels.items())
    while open_:
        domain = domains.get(open_.pop())
        for label, value in (domain.within if domain else {}).items():
            if label not in labels:
                labels[label] = value
                open_.append((label, value))
    return replace(host, labels=labels)


def _error(what: str, why: str, todo: str) -> Fault:
    return Fault(Weight.ERROR, what, why, todo)


def _warning(what: str, why: str, todo: str) -> Fault:
    return Fault(Weight.WARNING, what, why, todo)


def _names(fleet: Fleet) -> Iterator[Fault]:
    for noun, names in (
        ("host", [host.name for host in fleet.hosts]),
        ("guest", [guest.name for guest in fleet.guests]),
        ("rule", [rule.name for rule in fleet.rules]),
        ("domain", [f"{domain.label}={domain.value}" for domain in fleet.domains]),
    ):
        for name, count in Counter(names).items():
            if not name:
                yield _error(f"a {noun} is not described", "it has no name", f"Give each {noun} a name.")
            elif count > 1:
                yield _error(
                    f"{noun} {name} is not described", f"it is there {count} times", "Leave one of them."
                )
    if not fleet.hosts:
        yield _error("nothing can be planned", "there are no hosts", "Describe at least one host.")


def _numbers(fleet: Fleet) -> Iterator[Fault]:
    for host in fleet.hosts:
        for what, number in (
            ("memory", host.memory_bytes),
            ("cpus", host.cpus),
            ("link", host.link_bytes_per_s),
            ("memory_overcommit", host.memory_overcommit),
            ("cpu_overcommit", host.cpu_overcommit),
        ):
            if not 0 < number < inf:
                yield _error(
                    f"host {host.name} is of no use", f"its {what} is {number:g}", "Say what it has."
                )
    for guest in fleet.guests:
        for what, number in _figures(guest):
            if not 0 <= number < inf:
                yield _error(
                    f"guest {guest.name} cannot be placed", f"its {what} is {number:g}", "Mend that."
                )
    for rule in fleet.rules:
        if rule.at_most < 1:
            yield _error(
                f"rule {rule.name} cannot be kept", f"at_most is {rule.at_most}", "Allow 1 at least."
            )
    for uplink in fleet.uplinks:
        if uplink.bytes_per_s <= 0:
            name = f"{uplink.label}={uplink.value}"
            yield _error(f"uplink {name} is of no use", "its speed is not above 0", "Say how fast it is.")


def _figures(guest: FleetGuest) -> Iterator[tuple[str, float]]:
    needs, before = guest.needs, guest.load_before or guest.load
    yield from (("memory", needs.memory_bytes), ("vcpus", needs.vcpus), ("disk", needs.disk_bytes))
    yield from (("network", needs.network_bytes_per_s), ("dirty rate", guest.dirty_bytes_per_s))
    yield from (("load", guest.load.cpu_cores), ("load", guest.load.network_bytes_per_s))
    yield from (("load before", before.cpu_cores), ("load before", before.network_bytes_per_s))
    yield from (("held memory", guest.held_bytes or 0), ("working set", guest.working_set_bytes or 0))


def _loops(fleet: Fleet) -> Iterator[Fault]:
    """Each loop of domains once, from its first in the alphabet."""
    domains = {(domain.label, domain.value): domain for domain in fleet.domains}
    told: set[frozenset[Key]] = set()
    for start in sorted(domains):
        path = _loop_from(start, domains)
        if path and frozenset(path) not in told:
            told.add(frozenset(path))
            names = [f"{label}={value}" for label, value in (*path, path[0])]
            yield _error(
                f"domain {names[0]} is within itself",
                ", which is within ".join(f"{name}" for name in names),
                "Take one of them out of `within`.",
            )


def _loop_from(start: Key, domains: Mapping[Key, Domain]) -> tuple[Key, ...]:
    """The way from a domain back to itself; empty where there is none."""
    open_: list[tuple[Key, ...]] = [(start,)]
    seen: set[Key] = set()
    while open_:
        path = open_.pop()
        domain = domains.get(path[-1])
        for key in domain.within.items() if domain else ():
            if key == start:
                return path
            if key not in seen:
                seen.add(key)
                open_.append((*path, key))
    return ()


def _references(fleet: Fleet) -> Iterator[Fault]:
    hosts = {host.name for host in fleet.hosts}
    for guest in fleet.guests:
        for what, name in (("on", guest.host), ("moving to", guest.moving_to)):
            if name and name not in hosts:
                yield _error(
                    f"guest {guest.name} is nowhere",
                    f"it is said to be {what} {name}, and there is no such host",
                    "Mend the name, or describe that host.",
                )
        if guest.moving_to and not guest.host:
            yield _error(f"guest {guest.name} is nowhere", "it moves, but from no host", "Say where it is.")
    labels = {label for host in fleet.hosts for label in host.labels} | {HOST_DOMAIN}
    labels |= {label for domain in fleet.domains for label in (domain.label, *domain.within)}
    values = {item for host in fleet.hosts for item in host.labels.items()}
    values |= {item for domain in fleet.domains for item in domain.within.items()}
    for domain in fleet.domains:
        if (domain.label, domain.value) not in values:
            name = f"{domain.label}={domain.value}"
            yield _warning(f"domain {name} is empty", "no host is in it", "Mend the name, or leave it out.")
    for uplink in fleet.uplinks:
        if (uplink.label, uplink.value) not in values:
            name = f"{uplink.label}={uplink.value}"
            yield _error(f"uplink {name} leads nowhere", "no host has that label", "Mend the name.")
    for label in fleet.failure_domains:
        if label not in labels:
            yield _error(f"failure domain {label} is unknown", "no host has that label", "Mend the name.")
    for rule in fleet.rules:
        yield from _of_rule(rule, fleet, labels)


def _of_rule(rule: Rule, fleet: Fleet, labels: Iterable[str]) -> Iterator[Fault]:
    if rule.domain not in labels:
        yield _error(
            f"rule {rule.name} cannot be kept",
            f"its domain is {rule.domain}, a label that no host has",
            "Mend the name, or label the hosts.",
        )
    if not any(rule.takes(guest) for guest in fleet.guests):
        wanted = ", ".join(f"{label}={value}" for label, value in rule.members.items())
        yield _warning(f"rule {rule.name} is for nobody", f"no guest has {wanted}", "Mend its members.")


def _contradictions(fleet: Fleet) -> Iterator[Fault]:
    """Guests that have to be in one domain, and too many to be."""
    board = Board(fleet)
    hard = [number for number, rule in enumerate(fleet.rules) if rule.hard]
    together = [number for number in hard if fleet.rules[number].spread is Spread.TOGETHER]
    for one in together:
        for other in hard:
            joined, parted = fleet.rules[one], fleet.rules[other]
            if parted.spread is not Spread.APART or not _narrower(joined.domain, parted.domain):
                continue
            both = set(board.spread.members[one]) & set(board.spread.members[other])
            if len(both) > parted.at_most:
                names = ", ".join(sorted(fleet.guests[guest].name for guest in both)[:3])
                yield _error(
                    f"rules {joined.name} and {parted.name} contradict each other",
                    f"{names} must share a {joined.domain}, and only {parted.at_most} may share a {parted.domain}",
                    "Drop one, make one soft, or give them other members.",
                )


def _narrower(inner: str, outer: str) -> bool:
    """Being together in the one means being together in the other."""
    return inner in {outer, HOST_DOMAIN}


def _impossible_rules(fleet: Fleet) -> Iterator[Fault]:
    board = Board(fleet)
    for number, rule in enumerate(fleet.rules):
        members = board.spread.members[number]
        missing = [host.name for host in fleet.hosts if not host.domain(rule.domain)]
        if missing:
            yield _warning(
                f"rule {rule.name} takes {len(missing)} hosts for one {rule.domain}",
                f"{', '.join(missing[:3])} have no label {rule.domain}",
                "Label them.",
            )
        if rule.spread is Spread.APART:
            places = {host.domain(rule.domain) for host in fleet.hosts}
            if len(members) > len(places) * rule.at_most:
                yield _warning(
                    f"rule {rule.name} cannot be kept",
                    f"{len(members)} guests, {len(places)} of {rule.domain}, {rule.at_most} allowed in each",
                    "Add hosts, allow more, or make it soft.",
                )
        elif rule.domain == HOST_DOMAIN and members and not _room_for_all(board, members):
            yield _warning(
                f"rule {rule.name} cannot be kept",
                f"no host is large enough for its {len(members)} guests",
                "Add a larger host, or make it soft.",
            )


def _room_for_all(board: Board, members: list[int]) -> bool:
    needs = [board.guests[guest].needs for guest in members]
    rooms = [fit.room(host) for host in board.hosts]
    return any(
        sum(each.memory_bytes for each in needs) <= room.memory_bytes
        and sum(each.vcpus for each in needs) <= room.vcpus + fit.SLACK
        and sum(each.disk_bytes for each in needs) <= room.disk_bytes
        for room in rooms
    )


def _impossible_guests(fleet: Fleet) -> Iterator[Fault]:
    """Guests that no host could take even if it was empty, guests of which two kinds look alike told one by one."""
    board = Board(fleet)
    large: dict[int, set[Amounts]] = {}
    for kind, host in zip(board.host_kind, fleet.hosts, strict=True):
        large.setdefault(kind, set()).add(fit.room(host))
    for number, guest in enumerate(fleet.guests):
        rooms = (room for kind in board.kinds_for(number) for room in large[kind])
        if any(not fit.shortages(guest.needs, room) for room in rooms):
            continue
        yield _warning(
            f"guest {guest.name} fits on no host", _why_nowhere(guest, fleet), "Mend what is named here."
        )
    for number, host in enumerate(fleet.hosts):
        if board.overfull(number):
            yield _warning(
                f"host {host.name} has promised more than it has",
                ", ".join(fit.shortages(Amounts(), board.free(number))),
                "`segue plan balance` says what could leave it.",
            )


def _why_nowhere(guest: FleetGuest, fleet: Fleet) -> str:
    refused = {
        host.name: (*fit.obstacles(guest, host), *fit.shortages(guest.needs, fit.room(host)))
        for host in fleet.hosts
    }
    return reasons.together(refused)
