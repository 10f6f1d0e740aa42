"""Which hosts of a maintenance may begin now, why others may not, where guests must not land meanwhile. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from segue.errors import Kind, Refused
from segue.model.fleet import Fleet, FleetHost, Taint
from segue.model.maintenance import HostState, HostWork, Order, Scope, StepKind
from segue.model.plan import Move, Plan
from segue.policy import drain, procedure
from segue.policy.drain import Orders
from segue.policy.timetable import Slots

LATER: Final = Taint("maintenance", hard=False)
"""On hosts whose turn comes later: a guest that lands there moves twice."""
TRIED_MOST: Final = 8
"""Candidates for which there is no room, before the rest are left for the next look."""
SOON_S: Final = 60.0
Works = Mapping[str, HostWork]


@dataclass(frozen=True)
class Beside:
    """What other maintenances do meanwhile."""

    at_work: Mapping[str, str] = field(default_factory=dict)
    """Host -> the maintenance that works on it."""
    closed: frozenset[str] = frozenset()
    """Hosts of them that take in no guest, or will not in a moment."""
    emptied: frozenset[str] = frozenset()
    """Hosts of them whose guests leave, or may have to: they need room, too."""


ALONE: Final = Beside()


@dataclass(frozen=True)
class Next:
    """Hosts that may begin now; why others may not; the moves that empty all hosts that are to be empty then."""

    begin: tuple[str, ...] = ()
    waits: Mapping[str, str] = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    twice: frozenset[str] = frozenset()
    """Guests that land on a host whose turn is next, because nothing else has room."""


def hosts_of(fleet: Fleet, scope: Scope) -> tuple[str, ...]:
    """In the order in which they are worked on. Raises Refused where there are none, or one is not there."""
    known = {host.name for host in fleet.hosts}
    if scope.hosts:
        if unknown := sorted(set(scope.hosts) - known):
            raise _no_hosts(f"there is no host {', '.join(unknown)}", "Name hosts of the fleet.")
        return tuple(dict.fromkeys(scope.hosts))
    if scope.label:
        found = drain.hosts_of(fleet, scope.label, scope.value)
    else:
        found = tuple(h.name for h in fleet.hosts if scope.labels.items() <= dict(h.labels).items())
    if not found or not (scope.label or scope.labels):
        raise _no_hosts("no host is in its scope", "Name hosts, labels that some have, or a domain.")
    inhabited = Counter(guest.host for guest in fleet.guests)
    return tuple(sorted(found, key=lambda name: (inhabited[name], name)))


def domain(fleet: Fleet, scope: Scope) -> frozenset[str]:
    """Hosts that are switched off as one, or may be: none of them takes a guest in until all are done."""
    if not scope.label:
        return frozenset()
    return frozenset(host.name for host in fleet.hosts if host.domain(scope.label) == scope.value)


def is_over(works: Works) -> bool:
    """True once nothing more happens to any host."""
    return all(work.over for work in works.values())


def next_hosts(fleet: Fleet, order: Order, works: Works, now_s: float, beside: Beside = ALONE) -> Next:
    """Who may begin at `now_s` (wall clock). fleet: without guests that are stopped, which nothing happens to."""
    fleet = shut(fleet, beside.closed)
    at_work = {name for name, work in works.items() if is_at_work(order, work)}
    begin: list[str] = []
    waits: dict[str, str] = {}
    best = moves(fleet, order, works, beside=beside)
    known, tried = set(best.plan.staying), 0
    fixed_s = procedure.fixed_s(order, works)
    for name in (name for name, work in works.items() if work.state is HostState.WAITING):
        if other := beside.at_work.get(name):
            waits[name] = f"the maintenance {other} works on it"
            continue
        if why := _against(fleet, order, works, name, {*at_work, *begin}, now_s):
            waits[name] = why
            continue
        if tried >= TRIED_MOST:
            waits[name] = "others before it wait for room"
            continue
        made = moves(fleet, order, works, (*begin, name), beside)
        alone = moves(fleet, order, works, (*begin, name)) if beside.emptied else made
        why = _no_room(made.plan, known) or _too_late(order, alone.plan, fixed_s, now_s)
        if why:
            waits[name], tried = why, tried + 1
            continue
        begin.append(name)
        best = made
    return replace(best, begin=tuple(begin), waits=waits)


def moves(
    fleet: Fleet, order: Order, works: Works, also: Collection[str] = (), beside: Beside = ALONE
) -> Next:
    """The plan that empties what is to be empty, and `also`; nobody lands where the next work is, if that can be.

    A host that has left the fleet has nobody whom anything could move.
    """
    wanted = {*procedure.emptied(order, works), *(also if procedure.drains(order.procedure) else ())}
    if wanted:
        wanted |= beside.emptied
    emptied = sorted(wanted & {host.name for host in fleet.hosts})
    if not emptied:
        return Next()
    coming = _coming(order, works, also)
    orders = Orders(Slots(per_source=order.strategy.parallel, per_target=order.strategy.parallel))
    kept = drain.plan(reserved(fleet, order, works, {*coming, *also}), emptied, orders)
    if not kept.staying or not coming:
        return Next(plan=kept)
    loose = drain.plan(reserved(fleet, order, works, set(also)), emptied, orders)
    if len(loose.staying) >= len(kept.staying):
        return Next(plan=kept)
    return Next(plan=loose, twice=frozenset(m.guest for m in loose.moves if m.target in coming))


def reserved(fleet: Fleet, order: Order, works: Works, closed: Collection[str] = ()) -> Fleet:
    """The fleet with hosts closed where no guest may land, and the later ones made unattractive."""
    at_work = {name for name, work in works.items() if procedure.is_closed(order, work)}

    def marked(host: FleetHost) -> FleetHost:
        work = works.get(host.name)
        later = work is not None and work.state is HostState.WAITING
        return replace(host, taints=(*host.taints, LATER)) if later and not host.cordoned else host

    made = shut(fleet, {*closed, *domain(fleet, order.scope), *at_work})
    return replace(made, hosts=tuple(marked(host) for host in made.hosts))


def shut(fleet: Fleet, closed: Collection[str]) -> Fleet:
    """The fleet with hosts closed where no guest may land."""
    if not closed:
        return fleet
    hosts = tuple(replace(h, cordoned=True) if h.name in closed else h for h in fleet.hosts)
    return replace(fleet, hosts=hosts)


def within_shares(wanted: Sequence[Move], fleet: Fleet, most: Mapping[str, int]) -> list[Move]:
    """Those that may begin without more moves at once for any value of a label than are allowed."""
    labels = {guest.name: guest.labels for guest in fleet.guests}
    moving = Counter(
        (label, guest.labels[label])
        for guest in fleet.guests
        if guest.moving_to
        for label in most
        if label in guest.labels
    )
    begun = []
    for move in wanted:
        keys = [(label, labels[move.guest][label]) for label in most if label in labels.get(move.guest, {})]
        if all(moving[key] < most[key[0]] for key in keys):
            moving.update(keys)
            begun.append(move)
    return begun


def may_return(fleet: Fleet, order: Order, works: Works) -> bool:
    """A domain takes its guests back when the last of its hosts is done; other hosts do at once."""
    if not order.scope.label:
        return True
    at_return = len(order.procedure) - 1
    return all(work.over or work.step >= at_return for work in works.values())


def stopped(order: Order, works: Works) -> str:
    """Why no other host begins any more; empty while others may."""
    failed = sorted(name for name, work in works.items() if work.state is HostState.FAILED)
    most = order.strategy.failures
    canaries = _canaries(order, works)
    if bad := [name for name in failed if name in canaries]:
        return f"{', '.join(bad)} came first to try it out, and failed"
    if most and len(failed) >= most:
        return f"{', '.join(failed)} failed"
    return ""


def bakes(order: Order, works: Works, now_s: float) -> bool:
    """True while those that came first are looked at, before others begin."""
    first = _canaries(order, works)
    is_done = bool(first) and all(works[name].over for name in first)
    return is_done and now_s < max(works[name].ended_s for name in first) + order.strategy.bake_s


def is_at_work(order: Order, work: HostWork) -> bool:
    """A host of a domain that only waits until the others are done, to have its guests back, keeps nobody waiting."""
    if work.state is not HostState.WORKING:
        return False
    return not (order.scope.label and order.procedure[work.step].kind is StepKind.RETURN)


def _against(
    fleet: Fleet, order: Order, works: Works, name: str, at_work: Collection[str], now_s: float
) -> str:
    """Why that host does not begin now, whatever room there is."""
    return stopped(order, works) or next(_limits(fleet, order, works, name, at_work, now_s), "")


def _limits(
    fleet: Fleet, order: Order, works: Works, name: str, at_work: Collection[str], now_s: float
) -> Iterator[str]:
    strategy, window = order.strategy, order.window
    if now_s < window.begins_s:
        yield "its window has not begun"
    if window.ends_s and now_s >= window.ends_s:
        yield "its window is over"
    yield from _canary(order, works, name, now_s)
    if strategy.at_once and len(at_work) >= strategy.at_once:
        yield f"{strategy.at_once} at once: {_named(at_work)} first"
    hosts = {host.name: host for host in fleet.hosts}
    for label, most in strategy.per_domain.items():
        value = hosts[name].domain(label) if name in hosts else ""
        beside = [other for other in at_work if other in hosts and hosts[other].domain(label) == value]
        if value and len(beside) >= most:
            yield f"{most} at once of {label}={value}: {_named(beside)} first"


def _canaries(order: Order, works: Works) -> tuple[str, ...]:
    return tuple(works)[: order.strategy.canary]


def _canary(order: Order, works: Works, name: str, now_s: float) -> Iterator[str]:
    first = _canaries(order, works)
    if not first or name in first:
        return
    if waiting := [other for other in first if not works[other].over]:
        yield f"{_named(waiting)} first, to try it out"
    elif rest_s := max(0.0, max(works[o].ended_s for o in first) + order.strategy.bake_s - now_s):
        yield f"{_named(first)} first, and {rest_s:.0f} s more to see that all is well"


def _coming(order: Order, works: Works, also: Collection[str]) -> set[str]:
    """Those whose turn is next."""
    waiting = [name for name, w in works.items() if w.state is HostState.WAITING and name not in also]
    return set(waiting[: max(1, order.strategy.at_once)])


def _no_room(plan: Plan, known: Collection[str]) -> str:
    new = {guest: why for guest, why in plan.staying.items() if guest not in known}
    if not new:
        return ""
    guest = min(new)
    more = f", and {len(new) - 1} more" if len(new) > 1 else ""
    return f"{guest} cannot leave{more}: {new[guest]}"


def _too_late(order: Order, plan: Plan, fixed_s: float, now_s: float) -> str:
    ends_s = order.window.ends_s
    needs_s = plan.total_s + fixed_s
    if not ends_s or now_s + needs_s <= ends_s:
        return ""
    return f"it takes {needs_s:.0f} s, and the window ends in {max(0.0, ends_s - now_s):.0f} s"


def _named(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _no_hosts(why: str, todo: str) -> Refused:
    return Refused(what="there is nothing to maintain", why=why, todo=todo, kind=Kind.NOT_FOUND)
