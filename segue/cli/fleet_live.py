"""A fleet as its controller knows it now, as planners and rehearsals take it. It asks, and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from segue.cli.central import Controller
from segue.controller import fleet as planners
from segue.errors import Kind, Refused
from segue.model.fleet import (
    LINK_BYTES_PER_S,
    Amounts,
    Fleet,
    FleetGuest,
    FleetHost,
    Load,
    Rule,
    Taint,
)
from segue.model.guest import Guest
from segue.model.host import HostFacts
from segue.model.roster import DomainRecord, GuestWishes, HostRecord
from segue.policy import soundness

NAMED = 3
"""So many are named of what is not known."""


@dataclass(frozen=True)
class Live:
    """unknown: what nobody told, and what it counts as."""

    fleet: Fleet
    unknown: tuple[str, ...] = ()


def seen(controller: Controller) -> Live:
    """Hosts that are up and guests that run on them, with links, loads, and all that people decided of them."""
    guests = [guest for guest in controller.all("/guests") if guest["state"] == "running"]
    shown = [host for host in controller.all("/hosts") if host["state"] == "up"]
    loads, unknown = _loads(controller)
    uses = {guest["name"]: guest for load in loads.values() for guest in load["guests"]}
    writes = _dirty_rates(controller)
    promised: dict[str, int] = defaultdict(int)
    for guest in guests:
        promised[guest["host"]] += guest["spec"]["memory_bytes"]
    links = {host["name"]: _link(host, loads.get(host["name"])) for host in shown}
    ill = msgspec.convert(controller.call("GET", "/health")["answer"]["taints"], dict[str, Taint])
    storages = frozenset(name for use in uses.values() for name in use["storages"])
    hosts = tuple(
        _with_taint(
            _host(
                host, promised[host["name"]], links[host["name"]], _sees(loads.get(host["name"]), storages)
            ),
            ill.get(host["name"]),
        )
        for host in shown
    )
    wishes = {w["name"]: msgspec.convert(w, GuestWishes) for w in controller.all("/wishes")}
    living = tuple(_guest(guest, uses, writes, wishes) for guest in guests if guest["host"] in links)
    if bare := [name for name, link in links.items() if not link]:
        unknown.append(
            f"the link of {_few(bare)} counts as {LINK_BYTES_PER_S * 8 / 1e9:g} Gbit/s: nobody told it"
        )
    if idle := [guest.name for guest in living if guest.name not in writes]:
        unknown.append(f"{_few(idle)} writes nothing: no migration, and no forecast of one, has measured it")
    rules = [msgspec.convert(rule, Rule) for rule in controller.all("/rules")]
    domains = [msgspec.convert(domain, DomainRecord) for domain in controller.all("/domains")]
    made = Fleet(hosts, living, *planners.ordered(rules, domains))
    return Live(soundness.inherit(made), tuple(unknown))


def _loads(controller: Controller) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """(host -> what it told of itself and its guests, why that is not known)."""
    try:
        return {load["name"]: load for load in controller.all("/load")}, []
    except Refused as error:
        if error.kind is not Kind.AUTH:
            raise
        return {}, [f"processors are idle: {error.why}"]


def _dirty_rates(controller: Controller) -> dict[str, float]:
    """What each guest's last forecast measured, as the controller's own planners take it."""
    found: dict[str, float] = {}
    for migration in sorted(controller.all("/migrations"), key=lambda one: float(one["started_s"])):
        if migration["forecast"]:
            found[migration["guest"]] = float(migration["forecast"]["dirty_bytes_per_s"])
    return found


def _link(shown: dict[str, Any], load: dict[str, Any] | None) -> float:
    """As it was decided, or else as its agent found it; 0 where nobody said."""
    decided = shown["record"]["link_bytes_per_s"] if shown["record"] else 0
    return float(decided or (load["link_bytes_per_s"] if load else 0))


def _with_taint(host: FleetHost, of_health: Taint | None) -> FleetHost:
    return replace(host, taints=(*host.taints, of_health)) if of_health else host


def _sees(load: dict[str, Any] | None, every: frozenset[str]) -> frozenset[str]:
    """A host that did not say which storages it sees is not refused for that."""
    return frozenset(load["storages"]) if load else every


def _host(
    shown: dict[str, Any], promised_bytes: int, link_bytes_per_s: float, storages: frozenset[str]
) -> FleetHost:
    facts = msgspec.convert(shown["report"]["facts"], HostFacts)
    record = msgspec.convert(shown["record"] or {"name": shown["name"]}, HostRecord)
    return FleetHost(
        name=shown["name"],
        memory_bytes=facts.memory_free_bytes + promised_bytes,
        cpus=facts.cpus,
        link_bytes_per_s=link_bytes_per_s or LINK_BYTES_PER_S,
        memory_overcommit=record.memory_overcommit,
        cpu_overcommit=record.cpu_overcommit,
        labels=shown["labels"],
        taints=record.taints,
        cordoned=shown["cordoned"],
        accelerator=facts.accelerator,
        machines=frozenset(facts.machines),
        cpu_models=facts.cpu_models,
        networks=frozenset(facts.networks) | {f"bridge:{name}" for name in facts.bridges},
        storages=storages,
    )


def _guest(
    shown: dict[str, Any], uses: dict[str, Any], writes: dict[str, float], wishes: dict[str, GuestWishes]
) -> FleetGuest:
    spec, use = msgspec.convert(shown["spec"], Guest), uses.get(shown["name"])
    wished = wishes.get(spec.name, GuestWishes(spec.name))
    return FleetGuest(
        spec.name,
        Amounts(spec.memory_bytes, spec.vcpus, use["local_bytes"] if use else 0),
        shown["host"],
        pinned=wished.pinned,
        load=Load(use["use"]["now"]["cpu_cores"]) if use else Load(),
        dirty_bytes_per_s=writes.get(spec.name, 0.0),
        importance=wished.importance,
        labels=wished.labels,
        wants=wished.wants,
        prefers=wished.prefers,
        tolerates=frozenset(wished.tolerates),
        accelerator=spec.accelerator,
        machine=spec.machine,
        cpu_model=spec.cpu_model,
        networks=planners.networks(spec),
        storages=frozenset(use["storages"]) if use else frozenset(),
        is_app=spec.is_app,
    )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(sorted(names)[:NAMED])}{more}"
