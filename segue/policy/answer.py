"""Answers the health of all hosts: keep guests away, empty a host, or wait for a person. Pure; it moves nothing.

A host that says nothing is never emptied for that: silence is for fencing. A storm of verdicts waits for a person or a
rule, because emptying many healthy hosts costs more than the one failing host among them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from segue.model.answer import Answer, AnswerOrders, Evacuation, Held, Report, Storm, StormKind, Warned
from segue.model.fleet import Fleet, FleetGuest, Taint
from segue.model.health import Health, Kind, Level
from segue.model.plan import Plan
from segue.policy import drain, health, redundancy, soundness

TAINT: Final = "health"
SAME_S: Final = 120.0
"""By so much the beginning of one trouble may seem to wander: agents judge, and are asked, now and then."""
WARNED: Final = Taint(TAINT, hard=False)
"""Of hosts that may have no spare: guests go there last."""


def report(seen: Health) -> Report:
    """What one host says, in one line."""
    bad = [part for part in seen.parts if health.bearing(part, seen.parts) is seen.level and part.reasons]
    if seen.level is Level.HEALTHY or not bad:
        return Report(seen.host, seen.level, seen.at_s)
    worst = next((part for part in bad if part.reasons[0].text == seen.text), bad[0])
    reason = worst.reasons[0]
    return Report(seen.host, seen.level, seen.at_s, reason.since_s, reason.text, reason.rule, worst.kind)


def answer(
    fleet: Fleet,
    reports: Sequence[Report],
    evacuating: Collection[str],
    now_s: float,
    orders: AnswerOrders | None = None,
    tried: Mapping[str, str] | None = None,
    warned: Sequence[Warned] = (),
) -> Answer:
    """What to do now.

    reports: several of one host where several speak of it; the gravest counts.
    evacuating: hosts whose evacuation is under way; they count against the caps.
    warned: domains of which a person has said that a part failed.
    tried: hosts whose evacuation for this very trouble has ended, and what came of it: they take nobody's turn.
    """
    orders = orders or AnswerOrders()
    fleet = soundness.inherit(fleet)
    known = {host.name for host in fleet.hosts}
    bad = [one for one in reports if one.host in known and one.level is not Level.HEALTHY]
    told = {one.host: one for one in merged(bad)}
    failing = {
        name: one
        for name, one in sorted(told.items())
        if one.level.rank >= Level.FAILING.rank and now_s - one.at_s <= orders.stale_s
    }
    storms = tuple(_storms(fleet, failing, now_s, orders))
    lived_in = {guest.host for guest in fleet.guests} - set(evacuating)
    waiting = {name: one for name, one in failing.items() if name in lived_in}
    held = dict(_held(waiting, storms, orders))
    held |= {name: _left(name, why) for name, why in (tried or {}).items() if name in waiting}
    ready = sorted(
        (one for name, one in waiting.items() if name not in held), key=lambda o: _urgency(fleet, o)
    )
    chosen, later = _chosen(ready, set(evacuating), _given_up(told, lived_in), len(fleet.hosts), orders)
    held |= later
    lame = dict(sorted(spareless(fleet, bad, warned, now_s, orders).items()))
    return Answer(
        taints=dict.fromkeys(lame, WARNED) | taints(told.values(), len(fleet.hosts), orders),
        alerts=(
            *(f"{one.host} is {one.level}: {one.text}" for _, one in sorted(told.items())),
            *(f"{name} may have no spare: {why}" for name, why in lame.items()),
        ),
        evacuations=tuple(_evacuation(fleet, one) for one in chosen),
        held=tuple(held[name] for name in sorted(held)),
        storms=storms,
        plan=_plan(fleet, [one.host for one in chosen], {*told, *evacuating}) if chosen else None,
    )


def merged(reports: Iterable[Report]) -> list[Report]:
    """One of each host: the gravest; of two that are as grave the first."""
    found: dict[str, Report] = {}
    for one in reports:
        known = found.get(one.host)
        if known is None or one.level.rank > known.level.rank:
            found[one.host] = one
    return list(found.values())


def spareless(
    fleet: Fleet,
    reports: Sequence[Report],
    warned: Sequence[Warned],
    now_s: float,
    orders: AnswerOrders | None = None,
) -> dict[str, str]:
    """Hosts that say nothing, and why they may stand on one leg. fleet: with inherited labels."""
    orders = orders or AnswerOrders()
    found = redundancy.warnings(fleet, reports, orders.domains, now_s, orders.stale_s)
    speaking = {one.host for one in reports if one.level is not Level.HEALTHY}
    found |= redundancy.declared(fleet, warned)
    return {name: why for name, why in found.items() if name not in speaking}


def ours(told: Report, now_s: float, known: Report | None) -> Report:
    """A report by our own clock: the host's may be anything, and what began at once must be seen to have done so.

    known: what we had from it before. The same trouble keeps its beginning, whatever its clock does meanwhile.
    """
    if told.level is Level.HEALTHY or not told.since_s:
        return replace(told, at_s=now_s)
    since_s = now_s - max(0.0, told.at_s - told.since_s)
    if known is not None and known.level is told.level:
        is_heard = known.rule == told.rule and now_s - known.at_s <= AnswerOrders().stale_s
        if is_heard or abs(known.since_s - since_s) <= SAME_S:
            since_s = known.since_s
    return replace(told, at_s=now_s, since_s=since_s)


def _chosen(
    ready: Sequence[Report], evacuating: Collection[str], spent: int, hosts: int, orders: AnswerOrders
) -> tuple[list[Report], dict[str, Held]]:
    """Those that are emptied now, and why the others are not. ready: the most urgent first. spent: hosts given up."""
    chosen: list[Report] = []
    held: dict[str, Held] = {}
    for one in ready:
        if len(chosen) >= max(0, cap(hosts, orders) - len(evacuating)):
            held[one.host] = _not_yet(one, orders, evacuating)
        elif one.host not in orders.approved and spent + len(chosen) >= given_up_most(hosts, orders):
            held[one.host] = _enough(one, spent, orders)
        else:
            chosen.append(one)
    return chosen, held


def given_up_most(hosts: int, orders: AnswerOrders) -> int:
    """So many hosts may be empty for their health at last, however slowly they came to it."""
    return max(1, int(orders.storm_share * hosts))


def _given_up(told: Mapping[str, Report], lived_in: Collection[str]) -> int:
    """Hosts that fail and are empty, or on the way to it."""
    return sum(one.level.rank >= Level.FAILING.rank and name not in lived_in for name, one in told.items())


def _enough(one: Report, spent: int, orders: AnswerOrders) -> Held:
    most = f"no more than {orders.storm_share:.0%} of the fleet may be"
    why = f"{spent} hosts are empty for their health already, and {most}"
    return Held(
        one.host, why, f"Mend those, or look at {one.host} and drain it: `segue host drain {one.host}`."
    )


def cap(hosts: int, orders: AnswerOrders) -> int:
    """So many hosts may be emptied at once."""
    return min(orders.at_once, max(1, int(orders.share_at_once * hosts)))


def _storms(
    fleet: Fleet, failing: Mapping[str, Report], now_s: float, orders: AnswerOrders
) -> Iterator[Storm]:
    recent = [one for one in failing.values() if now_s - one.since_s <= orders.storm_window_s]
    names = tuple(one.host for one in recent)
    if len(names) >= orders.storm_hosts and len(names) > orders.storm_share * len(fleet.hosts):
        text = f"{len(names)} of {len(fleet.hosts)} hosts began to fail within {_span(orders)}"
        yield Storm(StormKind.FLEET, "", names, text)
    for rule in sorted({one.rule for one in recent}):
        hosts = tuple(one.host for one in recent if one.rule == rule)
        if len(hosts) >= orders.storm_hosts:
            text = f"{rule} condemns {len(hosts)} hosts within {_span(orders)}: does that sensor lie?"
            yield Storm(StormKind.RULE, rule, hosts, text)
    for label in orders.domains:
        members: dict[str, list[str]] = {}
        for host in fleet.hosts:
            if value := host.domain(label):
                members.setdefault(value, []).append(host.name)
        for value, inside in sorted(members.items()):
            bad = tuple(name for name in names if name in inside)
            if len(bad) >= 2 and 2 * len(bad) > len(inside):
                text = f"{len(bad)} of {len(inside)} hosts of {label}={value} began to fail within {_span(orders)}"
                yield Storm(StormKind.DOMAIN, f"{label}={value}", bad, text)


def _span(orders: AnswerOrders) -> str:
    return health.duration(orders.storm_window_s)


def _held(
    waiting: Mapping[str, Report], storms: Sequence[Storm], orders: AnswerOrders
) -> Iterator[tuple[str, Held]]:
    """Those that wait for a person's word, or a rule's."""
    for name, one in waiting.items():
        storm = next((storm for storm in storms if name in storm.hosts), None)
        if storm is None or name in orders.approved or one.rule in orders.trusted:
            continue
        todo = f"Look at one of them. Approve {name}, trust the rule {one.rule}, or say what was mended."
        yield name, Held(name, f"a storm: {storm.text}", todo)


def _left(host: str, why: str) -> Held:
    todo = f"Look at the task, help the guests that are left, then `segue host drain {host}`."
    return Held(host, f"its evacuation has ended and guests are left: {why}", todo)


def _not_yet(one: Report, orders: AnswerOrders, evacuating: Collection[str]) -> Held:
    if orders.at_once == 0:
        return Held(one.host, "nothing is evacuated by itself (at_once is 0)", f"segue host drain {one.host}")
    busy = ", ".join(sorted(evacuating)) or "others that are more urgent"
    return Held(
        one.host, f"only so many hosts are emptied at once; now: {busy}", "Wait, or allow more at once."
    )


def _urgency(fleet: Fleet, one: Report) -> tuple[int, int, float, str]:
    """A person's word is not asked for here: only what may be lost, and for how long already."""
    most = max((guest.importance for guest in fleet.guests if guest.host == one.host), default=-1)
    return -one.level.rank, -most, one.since_s, one.host


def taints(reports: Iterable[Report], hosts: int, orders: AnswerOrders | None = None) -> dict[str, Taint]:
    """Hard for each, so that nothing new goes there; soft where too many are so ill, or nothing could start.

    A sensor that condemns the whole fleet must not keep the guests of a dead host from starting elsewhere.
    """
    orders = orders or AnswerOrders()
    told = {one.host: one for one in merged(reports) if one.level is not Level.HEALTHY}
    failing = {name for name, one in told.items() if one.level.rank >= Level.FAILING.rank}

    def many(ill: int) -> bool:
        return ill >= hosts or (ill >= orders.storm_hosts and ill > orders.storm_share * hosts)

    loose, all_loose = many(len(told)), many(len(failing))
    return {name: Taint(TAINT, hard=not (all_loose if name in failing else loose)) for name in sorted(told)}


def _evacuation(fleet: Fleet, one: Report) -> Evacuation:
    guests = tuple(guest.name for guest in _by_importance(fleet, one.host))
    return Evacuation(one.host, one.text, guests, storage_post_copy=one.kind is Kind.DISK)


def _by_importance(fleet: Fleet, host: str) -> list[FleetGuest]:
    """Among equals the small ones first: more of them are away when the host dies."""
    found = [guest for guest in fleet.guests if guest.host == host]
    return sorted(found, key=lambda guest: (-guest.importance, guest.copied_bytes, guest.name))


def _plan(fleet: Fleet, emptied: Sequence[str], shunned: Collection[str]) -> Plan:
    """As a drain plans it: nobody is filled beyond its limits, and nothing lands on a host in trouble."""
    hosts = tuple(replace(host, cordoned=True) if host.name in shunned else host for host in fleet.hosts)
    return drain.plan(replace(fleet, hosts=hosts), emptied)
