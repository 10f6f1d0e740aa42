"""What the store has of maintenances: their orders, how far their hosts are. It reads, and writes no host's work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from segue.controller import fleet
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.model import verification
from segue.model.fleet import Fleet
from segue.model.guest import RunState
from segue.model.maintenance import HostState, HostWork, Maintenance, Outage
from segue.policy import maintenance, procedure
from segue.policy.maintenance import Beside

SKEW_S: Final = 5.0
"""By so much hosts' clocks may differ from ours where a move is looked for by its time."""
GONE = frozenset({RunState.STOPPED, RunState.CRASHED})
"""Guests to which nothing can happen when their host reboots."""


def key(name: str, host: str) -> str:
    """Of a host in a maintenance."""
    return f"{name}/{host}"


def works(mirror: Mirror, known: Maintenance) -> dict[str, HostWork]:
    """All its hosts in their order."""
    table = mirror.maintenance_hosts
    kept = ((host, table.get(key(known.order.name, host))) for host in known.hosts)
    return {host: found.value if found else HostWork(host) for host, found in kept}


def under_way(mirror: Mirror) -> Iterator[Maintenance]:
    """Begun, and not ended."""
    for known in mirror.maintenances.values():
        task = mirror.tasks.get(known.task) if known.task else None
        if task is not None and not task.value.ended:
            yield known


def beside(mirror: Mirror, name: str) -> Beside:
    """What all but that one work on. A host that only waits for its guests is worked on by nobody."""
    at_work: dict[str, str] = {}
    closed: set[str] = set()
    leaving: set[str] = set()
    for other in under_way(mirror):
        if other.order.name == name:
            continue
        for host, work in works(mirror, other).items():
            if work.state is not HostState.WORKING:
                continue
            if maintenance.is_at_work(other.order, work):
                at_work[host] = other.order.name
            if procedure.is_closed(other.order, work):
                closed.add(host)
                drains = procedure.drains(other.order.procedure) and not work.skipping
                leaving |= {host} if drains else set()
    return Beside(at_work, frozenset(closed), frozenset(leaving))


def emptied(mirror: Mirror) -> set[str]:
    """Hosts that guests leave for a maintenance, now."""
    return {
        host for known in under_way(mirror) for host in procedure.emptied(known.order, works(mirror, known))
    }


def may_be_back(mirror: Mirror) -> set[str]:
    """Hosts on which a command or a reboot was asked for, which may be why nobody hears of them."""
    return {
        host
        for known in under_way(mirror)
        for host, work in works(mirror, known).items()
        if work.acting and not work.over
    }


def outages(mirror: Mirror, work: HostWork, since_s: float, *, leaving: bool) -> tuple[Outage, ...]:
    """Of moves from that host, or to it, since then that its report does not have yet, as the sources' agents measured
    them."""
    known = {outage.migration for outage in work.outages}
    return tuple(
        Outage(m.guest, m.source, m.target, m.id, m.outcome.blackout_s, m.outcome.outage_s)
        for m in mirror.migrations.values()
        if (m.source if leaving else m.target) == work.host
        and m.started_s >= since_s - SKEW_S
        and m.outcome.resumed_at_s
        and m.id not in known
    )


def seen(mirror: Mirror, not_to: dict[str, tuple[str, ...]], loads: Loads) -> Fleet:
    """The fleet without guests that are off, and without those that only try a host out."""
    made = fleet.seen(mirror, not_to, loads)
    off = {
        name
        for name, shown in fleet.owners(mirror).items()
        if shown.state in GONE or verification.is_burn_in(name)
    }
    return Fleet(
        made.hosts, tuple(guest for guest in made.guests if guest.name not in off),
        made.rules, made.uplinks, made.domains, made.failure_domains,
    )  # fmt: skip


def on_host(mirror: Mirror, host: str) -> list[str]:
    """Guests of which something runs there by its own word, and those that are on their way to it.

    One that has left is still there for a moment, until its target has said that it needs nothing more of it.
    """
    kept = (mirror.guests.get(key) for key in mirror.guests.under(host))
    there = {found.value.name for found in kept if found is not None and found.value.state not in GONE}
    moving = fleet.under_way(mirror)
    return sorted(there | {name for name, migration in moving.items() if migration.target == host})
