"""A fleet as its controller knows it now, as planners and rehearsals take it. It asks, and changes nothing."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from segue.cli.central import Controller
from segue.model.fleet import Amounts, Fleet, FleetGuest, FleetHost


def seen(controller: Controller) -> Fleet:
    """Hosts that are up, and guests that run on them. Links and loads are not reported: the usual ones are taken."""
    guests = [guest for guest in controller.all("/guests") if guest["state"] == "running"]
    promised: dict[str, int] = defaultdict(int)
    for guest in guests:
        promised[guest["host"]] += guest["spec"]["memory_bytes"]
    hosts = [_host(one, promised[one["name"]]) for one in controller.all("/hosts") if one["state"] == "up"]
    there = {host.name for host in hosts}
    return Fleet(tuple(hosts), tuple(_guest(one) for one in guests if one["host"] in there))


def _host(shown: dict[str, Any], promised_bytes: int) -> FleetHost:
    facts = shown["report"]["facts"]
    return FleetHost(
        name=shown["name"],
        memory_bytes=facts["memory_free_bytes"] + promised_bytes,
        cpus=facts["cpus"],
        labels=shown["labels"],
        cordoned=shown["cordoned"],
    )


def _guest(shown: dict[str, Any]) -> FleetGuest:
    spec = shown["spec"]
    return FleetGuest(shown["name"], Amounts(spec["memory_bytes"], spec["vcpus"]), shown["host"])
