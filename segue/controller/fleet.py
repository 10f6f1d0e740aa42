"""The fleet as planners see it, made of what agents reported and people decided. It reads, and changes nothing."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from segue.adapters import clock
from segue.controller import fleet_apps
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.errors import Kind, Refused
from segue.model.answer import Report
from segue.model.fleet import (
    HOST_DOMAIN,
    LINK_BYTES_PER_S,
    Amounts,
    Domain,
    Fleet,
    FleetGuest,
    FleetHost,
    Load,
    Rule,
    Uplink,
)
from segue.model.guest import Guest
from segue.model.load import GuestLoad, HostLoad, Use
from segue.model.migration import Migration
from segue.model.roster import DomainRecord, GuestWishes, HostRecord, HostReport
from segue.model.verification import is_burn_in
from segue.policy import answer, rectify, soundness
from segue.wire.frames import Shown

RANK: Final = {"owner": 0, "offered": 0, "released": 1, "incoming": 2}
TRIES_OUT: Final = "it tries its host out, and is gone soon"
UNKNOWN_BYTES: Final = 1 << 62
NOWHERE: Final = ("nowhere",)
"""A wish that no host meets."""


def owners(mirror: Mirror) -> dict[str, Shown]:
    """Each guest by its name, as its owner has it: the highest epoch counts, several hosts may hold something of it.

    What a revoked host said last counts only where nobody else has the guest: it will not come back, and whoever starts
    the guest after that goes on with the epoch that he had, which may be lower.
    """
    gone = {name for name, kept in mirror.hosts.items().items() if kept.value.revoked}
    found: dict[str, Shown] = {}
    heirs: dict[str, Shown] = {}
    for kept in mirror.guests.items().values():
        guest = kept.value
        _keep_best(found, guest)
        if gone and guest.host not in gone and RANK.get(guest.phase) == 0:
            _keep_best(heirs, guest)
    left = {name: heirs.get(name, guest) if guest.host in gone else guest for name, guest in found.items()}
    return dict(sorted(left.items()))


def _keep_best(found: dict[str, Shown], guest: Shown) -> None:
    best = found.get(guest.name)
    if best is None or _rank(guest) < _rank(best):
        found[guest.name] = guest


def unheard(mirror: Mirror, host: str) -> str:
    """Why what is shown of a host's guests may not be so any more; empty for one that is connected."""
    report, death = mirror.reports.get(host), mirror.deaths.get(host)
    if report is None or report.value.linked:
        return ""
    if is_revoked(mirror, host):
        return f"{host} is removed, and this is what it said last"
    if death is not None and death.value.proof is not None:
        return f"{host} is off: `segue incident list --open` says what is done"
    return f"{host} is away, and this is what it said last"


def guest(mirror: Mirror, name: str) -> Shown:
    """Raises Refused where no host reported it."""
    found = owners(mirror).get(name)
    if found is None:
        raise no_guest(name)
    return found


def no_guest(name: str) -> Refused:
    """The same words for one that is not there and one that the caller may not see."""
    return Refused(
        what=f"there is no guest {name}",
        why="no host of the fleet reported it",
        todo="`segue vm list` shows all guests.",
        kind=Kind.NOT_FOUND,
    )


def guest_labels(mirror: Mirror, name: str) -> dict[str, str]:
    """As they were decided."""
    record = mirror.wishes.get(name)
    return dict(record.value.labels) if record else {}


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


def members(mirror: Mirror) -> set[str]:
    """Hosts that joined or were ever heard of, and may speak: connected or not."""
    known = {*mirror.hosts.items(), *mirror.reports.items()}
    return {host for host in known if not is_revoked(mirror, host)}


def labels(mirror: Mirror, host: str) -> dict[str, str]:
    """What its agent says, and what was decided here, which counts more."""
    report, record = mirror.reports.get(host), mirror.hosts.get(host)
    told = dict(report.value.labels) if report else {}
    return told | (dict(record.value.labels) if record else {})


def seen(
    mirror: Mirror, not_to: Mapping[str, Collection[str]] | None = None, loads: Loads | None = None
) -> Fleet:
    """All hosts and guests. not_to: hosts that a guest must not be sent to, because they refused it."""
    loads = loads or Loads()
    guests = owners(mirror)
    there = linked(mirror)
    known = [report for report in mirror.reports.values() if not is_revoked(mirror, report.name)]
    on: dict[str, list[Shown]] = defaultdict(list)
    for shown in guests.values():
        on[shown.host].append(shown)
    told = {shown.spec.uuid: loads.guest(shown.spec.uuid) for shown in guests.values()}
    storages = frozenset(name for load in told.values() if load for name in load.storages)
    hosts = tuple(
        _host(mirror, report, _Here(on[report.name], told, loads.host(report.name), storages), there)
        for report in known
    )
    names = [host.name for host in hosts]
    moving, writes = under_way(mirror), _dirty_rates(mirror)
    on_host = {report.name: report.facts for report in known}
    made = Fleet(
        hosts,
        tuple(
            fleet_apps.guest(
                _guest(
                    _wished(mirror, shown.spec, but(names, (not_to or {}).get(name, ()))),
                    shown, moving.get(name), told[shown.spec.uuid], writes.get(name, 0.0),
                    away=shown.host not in there,
                ),
                shown.spec, on_host.get(shown.host),
            )
            for name, shown in guests.items()
        ),
        *ordered(mirror.rules.values(), list(mirror.domains.values())),
    )  # fmt: skip
    return _tainted(mirror, soundness.inherit(made))


def reports(mirror: Mirror) -> list[Report]:
    """What agents and BMCs say of the health of hosts; several of one host where both speak."""
    told = [*mirror.health.values(), *(sensed.report for sensed in mirror.sensors.values())]
    return [one for one in told if not is_revoked(mirror, one.host)]


def _tainted(mirror: Mirror, made: Fleet) -> Fleet:
    """With what keeps guests away from hosts by their health, and by that of their domains."""
    told, warned = reports(mirror), list(mirror.warnings.values())
    lame = answer.spareless(made, told, warned, clock.wall_s())
    taints = dict.fromkeys(lame, answer.WARNED) | answer.taints(told, len(made.hosts))
    unproven = {v.host: rectify.taint(v) for v in mirror.verifications.values() if not v.ok}
    if not taints and not unproven:
        return made
    hosts = tuple(
        replace(h, taints=(*h.taints, *(found[h.name] for found in (taints, unproven) if h.name in found)))
        for h in made.hosts
    )
    return replace(made, hosts=hosts)


async def looked(mirror: Mirror, loads: Loads, not_to: Mapping[str, Collection[str]] | None = None) -> Fleet:
    """The same in a thread: of a large fleet it takes seconds, and the leader must prolong its lease meanwhile."""
    return await asyncio.to_thread(seen, mirror.frozen(), not_to, loads.frozen())


def ordered(
    rules: Iterable[Rule], domains: Collection[DomainRecord]
) -> tuple[tuple[Rule, ...], tuple[Uplink, ...], tuple[Domain, ...], tuple[str, ...]]:
    """(rules, uplinks, domains, failure domains) as people decided them."""
    return (
        tuple(rules),
        tuple(Uplink(d.label, d.value, d.uplink_bytes_per_s) for d in domains if d.uplink_bytes_per_s),
        tuple(Domain(d.label, d.value, d.within) for d in domains),
        tuple(sorted({d.label for d in domains} - {HOST_DOMAIN})),
    )


def new_guest(mirror: Mirror, spec: Guest) -> FleetGuest:
    """A guest that is nowhere yet."""
    return replace(_wished(mirror, spec, ()), machine="", accelerator="")


def _rank(guest: Shown) -> tuple[int, int]:
    return -guest.epoch, RANK.get(guest.phase, 3)


def but(names: Iterable[str], not_to: Collection[str]) -> tuple[str, ...]:
    """The hosts that are left for a guest; none where nothing speaks against any."""
    return tuple(name for name in names if name not in not_to) or NOWHERE if not_to else ()


def narrowed(wants: Mapping[str, tuple[str, ...]], only: tuple[str, ...]) -> Mapping[str, tuple[str, ...]]:
    """The wishes, on these hosts alone: those that were wished for and are not among them are out, too."""
    if not only:
        return wants
    wished = wants.get(HOST_DOMAIN, only)
    return {**wants, HOST_DOMAIN: tuple(name for name in only if name in wished) or NOWHERE}


@dataclass(frozen=True)
class _Here:
    """What is known of one host's guests and load."""

    guests: list[Shown]
    told: Mapping[str, GuestLoad | None]
    load: HostLoad | None
    storages: frozenset[str]
    """All that any guest needs: a host that did not say what it sees is not refused for that."""

    def promised_bytes(self) -> int:
        """Memory of its guests that are not stopped."""
        return sum(shown.spec.memory_bytes for shown in self.guests if shown.state != "stopped")

    def local_bytes(self) -> int:
        """Storage of its own, for guests; where it did not say, it is not what a move fails by here."""
        if self.load is None:
            return UNKNOWN_BYTES
        loads = (self.told[shown.spec.uuid] for shown in self.guests)
        return self.load.local_free_bytes + sum(load.local_bytes for load in loads if load)


def _host(mirror: Mirror, report: HostReport, here: _Here, there: Collection[str]) -> FleetHost:
    facts, kept = report.facts, mirror.hosts.get(report.name)
    record = kept.value if kept else HostRecord(report.name)
    link = record.link_bytes_per_s or (here.load.link_bytes_per_s if here.load else 0)
    bridges = {f"bridge:{name}" for name in facts.bridges}
    made = FleetHost(
        name=report.name,
        memory_bytes=facts.memory_free_bytes + here.promised_bytes(),
        cpus=facts.cpus,
        disk_bytes=here.local_bytes(),
        network_bytes_per_s=link,
        link_bytes_per_s=link or LINK_BYTES_PER_S,
        memory_overcommit=record.memory_overcommit,
        cpu_overcommit=record.cpu_overcommit,
        labels=labels(mirror, report.name),
        taints=record.taints,
        cordoned=report.name not in there or record.cordoned,
        accelerator=facts.accelerator,
        machines=frozenset(facts.machines),
        cpu_models=facts.cpu_models,
        networks=frozenset(facts.networks) | bridges,
        storages=frozenset(here.load.storages) if here.load else here.storages,
        runs_apps=bool(facts.app_runtime),
    )
    return fleet_apps.host(made, facts)


def _wished(mirror: Mirror, spec: Guest, only: tuple[str, ...]) -> FleetGuest:
    """As it was described and as people want it; nowhere, and idle."""
    kept = mirror.wishes.get(spec.name)
    record = kept.value if kept else GuestWishes(spec.name)
    return FleetGuest(
        name=spec.name,
        needs=Amounts(spec.memory_bytes, spec.vcpus),
        pinned=record.pinned or (TRIES_OUT if is_burn_in(spec.name) else ""),
        importance=record.importance,
        labels=record.labels,
        wants=narrowed(record.wants, only),
        prefers=record.prefers,
        tolerates=frozenset(record.tolerates),
        accelerator=spec.accelerator,
        machine=spec.machine,
        cpu_model=spec.cpu_model,
        networks=networks(spec),
        is_app=spec.is_app,
    )


def _guest(
    wished: FleetGuest,
    shown: Shown,
    moving: Migration | None,
    load: GuestLoad | None,
    dirty: float,
    *,
    away: bool,
) -> FleetGuest:
    spec = shown.spec
    why = wished.pinned
    if moving is None and away:
        why = f"the agent of {shown.host} is not connected"
    elif moving is None and shown.state != "running":
        why = f"it is {shown.state}; only a running guest can be moved live"
    memory = 0 if shown.state == "stopped" else spec.memory_bytes
    use = load.use if load and load.use.span_s else None
    return replace(
        wished,
        needs=Amounts(memory, spec.vcpus, load.local_bytes if load else 0),
        host=shown.host,
        moving_to=moving.target if moving else "",
        pinned=why,
        load=_weight(use.now, spec.vcpus) if use else Load(),
        load_before=_weight(use.before, spec.vcpus) if use else None,
        held_bytes=min(load.held_bytes, spec.memory_bytes) if load and load.held_bytes else None,
        dirty_bytes_per_s=dirty,
        storages=frozenset(load.storages) if load else frozenset(),
    )


def _weight(use: Use, vcpus: int) -> Load:
    """What it would use where there are processors for it: a starved guest is not a small one."""
    wanted = min(use.cpu_cores + use.waiting_cores, max(use.cpu_cores, float(vcpus)))
    return Load(wanted, use.received_bytes_per_s + use.sent_bytes_per_s)


def _dirty_rates(mirror: Mirror) -> dict[str, float]:
    """What each guest's last forecast measured: to measure it all the time would slow guests down."""
    newest: dict[str, Migration] = {}
    for kept in mirror.migrations.items().values():
        record, known = kept.value, newest.get(kept.value.guest)
        if record.forecast and (known is None or known.started_s < record.started_s):
            newest[record.guest] = record
    return {name: m.forecast.dirty_bytes_per_s for name, m in newest.items() if m.forecast}


def networks(spec: Guest) -> frozenset[str]:
    """Those that its cards are on."""
    return frozenset(nic.network or f"bridge:{nic.bridge}" for nic in spec.nics)
