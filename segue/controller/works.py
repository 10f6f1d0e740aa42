"""What the store has of maintenances: their orders, how far their hosts are. It reads, and writes no host's work."""

from __future__ import annotations

from collections.abc import Iterator

from segue.controller import fleet
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.model import verification
from segue.model.fleet import Fleet
from segue.model.guest import RunState
from segue.model.maintenance import HostWork, Maintenance
from segue.policy import procedure

GONE = frozenset({RunState.STOPPED, RunState.CRASHED})
"""Guests to which nothing can happen when their host reboots."""


def key(name: str, host: str) -> str:
    """Of a host in a maintenance."""
    return f"{name}/{host}"


def works(mirror: Mirror, maintenance: Maintenance) -> dict[str, HostWork]:
    """All its hosts in their order."""
    table = mirror.maintenance_hosts
    kept = ((host, table.get(key(maintenance.order.name, host))) for host in maintenance.hosts)
    return {host: found.value if found else HostWork(host) for host, found in kept}


def under_way(mirror: Mirror) -> Iterator[Maintenance]:
    """Begun, and not ended."""
    for maintenance in mirror.maintenances.values():
        task = mirror.tasks.get(maintenance.task) if maintenance.task else None
        if task is not None and not task.value.ended:
            yield maintenance


def emptied(mirror: Mirror) -> set[str]:
    """Hosts that guests leave for a maintenance, now."""
    return {
        host
        for maintenance in under_way(mirror)
        for host in procedure.emptied(maintenance.order, works(mirror, maintenance))
    }


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
