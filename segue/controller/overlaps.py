"""Maintenances that would be under way at the same time: is there room for both? It foresees, and changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

from segue.controller import works
from segue.controller.mirror import Mirror
from segue.errors import Refused
from segue.model.fleet import Fleet
from segue.model.maintenance import Foreseen, Maintenance, Order
from segue.policy import maintenance, maintenance_forecast, procedure
from segue.policy.maintenance import Beside


def missing(mirror: Mirror, seen: Fleet, order: Order, made: Foreseen, now_s: float) -> list[str]:
    """What is missing for it beside those that begin before it. Of two, the later one says so."""
    earlier = dict(_earlier(mirror, seen, order, made, now_s))
    own = set(maintenance.hosts_of(seen, order.scope))
    hosts = frozenset(host for found in earlier.values() for host in found) - own
    if not hosts:
        return []
    again = maintenance_forecast.foresee(seen, order, now_s, Beside(closed=hosts, emptied=hosts))
    names = ", ".join(sorted(earlier))
    return [f"at the same time as {names}: {why}" for why in again.missing if why not in made.missing]


def _earlier(
    mirror: Mirror, seen: Fleet, order: Order, made: Foreseen, now_s: float
) -> Iterator[tuple[str, frozenset[str]]]:
    """(name, hosts that it empties) of each that would be under way then."""
    begun = {known.order.name for known in works.under_way(mirror)}
    for known in mirror.maintenances.values():
        other = known.order
        is_open = other.name in begun or (not known.task and other.window.begins_s)
        if other.name == order.name or not is_open or not procedure.drains(other.procedure):
            continue
        begins_s = max(now_s, other.window.begins_s)
        if other.name not in begun and (begins_s, other.name) > (made.begins_s, order.name):
            continue
        try:
            ends_s = other.window.ends_s or begins_s + _lasts_s(seen, other, now_s)
            if ends_s > made.begins_s:
                yield other.name, _hosts(mirror, seen, known)
        except Refused:  # Such as a host that has left the fleet since: nobody can carry it out.
            continue


def _lasts_s(seen: Fleet, order: Order, now_s: float) -> float:
    found = maintenance_forecast.foresee(seen, order, now_s)
    return found.ends_s - found.begins_s


def _hosts(mirror: Mirror, seen: Fleet, known: Maintenance) -> frozenset[str]:
    """Those that are still to be worked on."""
    hosts = known.hosts or maintenance.hosts_of(seen, known.order.scope)
    over = {name for name, work in works.works(mirror, known).items() if work.over}
    return frozenset(hosts) - over
