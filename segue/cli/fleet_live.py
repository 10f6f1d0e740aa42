"""A fleet as its controller knows it now, as planners and rehearsals take it. It asks, and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from segue.cli.central import Controller
from segue.errors import Kind, Refused
from segue.model.fleet import LINK_BYTES_PER_S, Amounts, Fleet, FleetGuest, FleetHost, Load

NAMED = 3
"""So many are named of what is not known."""


@dataclass(frozen=True)
class Live:
    """unknown: what nobody told, and what it counts as."""

    fleet: Fleet
    unknown: tuple[str, ...] = ()


def seen(controller: Controller) -> Live:
    """Hosts that are up, with their links, and guests that run on them, with what they use and write."""
    guests = [guest for guest in controller.all("/guests") if guest["state"] == "running"]
    shown = [host for host in controller.all("/hosts") if host["state"] == "up"]
    loads, unknown = _loads(controller)
    uses = {guest["name"]: guest["use"] for load in loads.values() for guest in load["guests"]}
    writes = _dirty_rates(controller)
    promised: dict[str, int] = defaultdict(int)
    for guest in guests:
        promised[guest["host"]] += guest["spec"]["memory_bytes"]
    links = {host["name"]: _link(host, loads.get(host["name"])) for host in shown}
    hosts = tuple(_host(host, promised[host["name"]], links[host["name"]]) for host in shown)
    living = tuple(_guest(guest, uses, writes) for guest in guests if guest["host"] in links)
    if bare := [name for name, link in links.items() if not link]:
        unknown.append(
            f"the link of {_few(bare)} counts as {LINK_BYTES_PER_S * 8 / 1e9:g} Gbit/s: nobody told it"
        )
    if idle := [guest.name for guest in living if guest.name not in writes]:
        unknown.append(f"{_few(idle)} writes nothing: no migration, and no forecast of one, has measured it")
    return Live(Fleet(hosts, living), tuple(unknown))


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


def _host(shown: dict[str, Any], promised_bytes: int, link_bytes_per_s: float) -> FleetHost:
    facts = shown["report"]["facts"]
    return FleetHost(
        name=shown["name"],
        memory_bytes=facts["memory_free_bytes"] + promised_bytes,
        cpus=facts["cpus"],
        link_bytes_per_s=link_bytes_per_s or LINK_BYTES_PER_S,
        labels=shown["labels"],
        cordoned=shown["cordoned"],
    )


def _guest(shown: dict[str, Any], uses: dict[str, Any], writes: dict[str, float]) -> FleetGuest:
    spec, use = shown["spec"], uses.get(shown["name"])
    needs = Amounts(spec["memory_bytes"], spec["vcpus"])
    load = Load(use["now"]["cpu_cores"]) if use else Load()
    dirty = writes.get(shown["name"], 0.0)
    return FleetGuest(shown["name"], needs, shown["host"], load=load, dirty_bytes_per_s=dirty)


def _few(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(sorted(names)[:NAMED])}{more}"
