"""What people have decided of a real fleet, as a rehearsal's store has it from the beginning: rules, taints, wishes.

It must never leave out in silence what a planner would heed: what cannot be kept is named in `unplayed`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from segue.controller.fleet import NOWHERE, narrowed
from segue.model import store as nouns
from segue.model.fleet import Fleet, FleetGuest, FleetHost
from segue.model.roster import DomainRecord, GuestWishes, HostRecord
from segue.model.store import Change
from segue.policy import fit


def changes(fleet: Fleet) -> Iterator[Change]:
    """What is written into an empty store before the first controller looks."""
    for host in fleet.hosts:
        yield _kept(f"hosts/{host.name}", _record(host))
    for guest in fleet.guests:
        yield _kept(f"wishes/{guest.name}", _wishes(guest, fleet))
    for rule in fleet.rules:
        yield _kept(f"rules/{rule.name}", rule)
    for record in _domains(fleet).values():
        yield _kept(f"domains/{record.label}={record.value}", record)


def unplayed(fleet: Fleet) -> list[str]:
    """What a rehearsal does not show as it will be."""
    found = {
        "disks of a host's own are not copied: such a move takes longer": any(
            guest.needs.disk_bytes for guest in fleet.guests
        ),
        "guests that are nowhere are left out": any(not guest.host for guest in fleet.guests),
        "planners heed uplinks of domains, and frames go as fast as the links of hosts": bool(fleet.uplinks),
        "applications move as machines do": any(guest.is_app for guest in fleet.guests),
    }
    return [name for name, is_there in found.items() if is_there]


def _record(host: FleetHost) -> HostRecord:
    return HostRecord(
        host.name,
        cordoned=host.cordoned,
        labels=dict(host.labels),
        taints=host.taints,
        memory_overcommit=host.memory_overcommit,
        cpu_overcommit=host.cpu_overcommit,
        link_bytes_per_s=int(host.link_bytes_per_s),
    )


def _wishes(guest: FleetGuest, fleet: Fleet) -> GuestWishes:
    return GuestWishes(
        guest.name,
        dict(guest.labels),
        _wants(guest, fleet),
        dict(guest.prefers),
        tuple(sorted(guest.tolerates)),
        guest.importance,
        guest.pinned,
    )


def _wants(guest: FleetGuest, fleet: Fleet) -> dict[str, tuple[str, ...]]:
    """With the hosts that have its networks, storages, machine type and processor: simulated hosts are all alike."""
    bare = replace(guest, wants={}, is_app=False)
    able = tuple(host.name for host in fleet.hosts if not fit.obstacles(bare, replace(host, taints=())))
    if len(able) == len(fleet.hosts):
        return dict(guest.wants)
    return dict(narrowed(guest.wants, able or NOWHERE))


def _domains(fleet: Fleet) -> dict[tuple[str, str], DomainRecord]:
    found = {(d.label, d.value): DomainRecord(d.label, d.value, dict(d.within)) for d in fleet.domains}
    for uplink in fleet.uplinks:
        where = (uplink.label, uplink.value)
        known = found.get(where, DomainRecord(*where))
        found[where] = replace(known, uplink_bytes_per_s=int(uplink.bytes_per_s))
    return found


def _kept(key: str, value: object) -> Change:
    return nouns.create(key, msgspec.json.encode(value))
