"""The fleet as planners see it, made of what agents reported and people decided. It reads, and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import Final

from segue.controller.mirror import Mirror
from segue.errors import Kind, Refused
from segue.model.fleet import HOST_DOMAIN, Amounts, Fleet, FleetGuest, FleetHost
from segue.model.guest import Guest
from segue.model.migration import Migration
from segue.model.roster import HostReport
from segue.policy import answer
from segue.wire.frames import Shown

RANK: Final = {"owner": 0, "offered": 0, "released": 1, "incoming": 2}


def owners(mirror: Mirror) -> dict[str, Shown]:
    """Each guest by its name, as its owner has it: the highest epoch counts, several hosts may hold something of it."""
    found: dict[str, Shown] = {}
    for kept in mirror.guests.items().values():
        guest = kept.value
        best = found.get(guest.name)
        if best is None or _rank(guest) < _rank(best):
            found[guest.name] = guest
    return dict(sorted(found.items()))


def guest(mirror: Mirror, name: str) -> Shown:
    """Raises Refused where no host reported it."""
    found = owners(mirror).get(name)
    if found is None:
        raise Refused(
            what=f"there is no guest {name}",
            why="no host of the fleet reported it",
            todo="`segue vm list` shows all guests.",
            kind=Kind.NOT_FOUND,
        )
    return found


def under_way(mirror: Mirror) -> dict[str, Migration]:
    """Migrations that have not ended, by the guest's name."""
    return {m.guest: m for m in mirror.migrations.values() if not m.ended}


def linked(mirror: Mirror) -> set[str]:
    """Hosts whose agent is connected to the leader and may be."""
    return {
        report.name
        for report in mirror.reports.values()
        if report.linked and not is_revoked(mirror, report.name)
    }


def is_revoked(mirror: Mirror, host: str) -> bool:
    """True for a host that may not speak any more."""
    record = mirror.hosts.get(host)
    return record is not None and record.value.revoked


def labels(mirror: Mirror, host: str) -> dict[str, str]:
    """What its agent says, and what was decided here, which counts more."""
    report, record = mirror.reports.get(host), mirror.hosts.get(host)
    told = dict(report.value.labels) if report else {}
    return told | (dict(record.value.labels) if record else {})


def seen(mirror: Mirror, not_to: Mapping[str, Collection[str]] | None = None) -> Fleet:
    """All hosts and guests. not_to: hosts that a guest must not be sent to, because they refused it."""
    guests = owners(mirror)
    promised: dict[str, int] = defaultdict(int)
    for shown in guests.values():
        promised[shown.host] += shown.spec.memory_bytes if shown.state != "stopped" else 0
    there = linked(mirror)
    hosts = tuple(
        _host(mirror, report, promised[report.name], closed=report.name not in there)
        for report in mirror.reports.values()
        if not is_revoked(mirror, report.name)
    )
    taints = answer.taints(mirror.health.values(), len(hosts))
    hosts = tuple(replace(h, taints=(taints[h.name],)) if h.name in taints else h for h in hosts)
    names = [host.name for host in hosts]
    moving = under_way(mirror)
    return Fleet(
        hosts,
        tuple(
            _guest(shown, moving.get(name), but(names, (not_to or {}).get(name, ())))
            for name, shown in guests.items()
        ),
    )


def new_guest(spec: Guest) -> FleetGuest:
    """A guest that is nowhere yet."""
    return FleetGuest(
        name=spec.name,
        needs=Amounts(spec.memory_bytes, spec.vcpus),
        networks=_networks(spec),
        cpu_model=spec.cpu_model,
    )


def _rank(guest: Shown) -> tuple[int, int]:
    return -guest.epoch, RANK.get(guest.phase, 3)


def but(names: Iterable[str], not_to: Collection[str]) -> tuple[str, ...]:
    """The hosts that are left for a guest; none where nothing speaks against any."""
    return tuple(name for name in names if name not in not_to) or ("nowhere",) if not_to else ()


def _host(mirror: Mirror, report: HostReport, promised_bytes: int, *, closed: bool) -> FleetHost:
    facts, record = report.facts, mirror.hosts.get(report.name)
    bridges = {f"bridge:{name}" for name in facts.bridges}
    return FleetHost(
        name=report.name,
        memory_bytes=facts.memory_free_bytes + promised_bytes,
        cpus=facts.cpus,
        labels=labels(mirror, report.name),
        cordoned=closed or (record is not None and record.value.cordoned),
        accelerator=facts.accelerator,
        machines=frozenset(facts.machines),
        cpu_models=facts.cpu_models,
        networks=frozenset(facts.networks) | bridges,
    )


def _guest(shown: Shown, moving: Migration | None, only: tuple[str, ...]) -> FleetGuest:
    spec = shown.spec
    stands = shown.state != "running" and moving is None
    return FleetGuest(
        name=spec.name,
        needs=Amounts(0 if shown.state == "stopped" else spec.memory_bytes, spec.vcpus),
        host=shown.host,
        moving_to=moving.target if moving else "",
        pinned=f"it is {shown.state}; only a running guest can be moved live" if stands else "",
        wants={HOST_DOMAIN: only} if only else {},
        accelerator=spec.accelerator,
        machine=spec.machine,
        cpu_model=spec.cpu_model,
        networks=_networks(spec),
    )


def _networks(spec: Guest) -> frozenset[str]:
    return frozenset(nic.network or f"bridge:{nic.bridge}" for nic in spec.nics)
