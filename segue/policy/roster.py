"""Makes hosts and guests of a fleet out of what agents report: planners and agents judge by the same facts.

Planners judge more coarsely: frame sizes, VLANs, file paths and queues are compared when a migration begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from segue.model.fleet import Amounts, FleetGuest, FleetHost
from segue.model.guest import Guest
from segue.model.host import HostFacts

BRIDGE: Final = "bridge "
"""Plain bridges are networks, too; their names are kept apart from those of networks."""


def host(facts: HostFacts, kept_bytes: int, link_bytes_per_s: float, labels: Mapping[str, str]) -> FleetHost:
    """kept_bytes: what the host keeps of its memory. link_bytes_per_s: as migrations found it, or its nominal speed.

    Taints, overcommit and cordons are an operator's: the caller adds them.
    """
    return FleetHost(
        name=facts.name,
        memory_bytes=max(0, facts.memory_total_bytes - kept_bytes),
        cpus=facts.cpus,
        link_bytes_per_s=link_bytes_per_s,
        labels=labels,
        accelerator=facts.accelerator,
        machines=frozenset(facts.machines),
        runs_apps=bool(facts.app_runtime),
        cpu_models=facts.cpu_models,
        networks=frozenset(facts.networks) | {BRIDGE + bridge for bridge in facts.bridges},
    )


def guest(spec: Guest, on: str, labels: Mapping[str, str]) -> FleetGuest:
    """As it is described; load, dirty rate and disks of its host's own are measured: the caller adds them."""
    return FleetGuest(
        name=spec.name,
        needs=Amounts(spec.memory_bytes, spec.vcpus),
        host=on,
        labels=labels,
        is_app=spec.is_app,
        accelerator=spec.accelerator,
        machine=spec.machine,
        cpu_model=spec.cpu_model,
        networks=frozenset(nic.network or BRIDGE + nic.bridge for nic in spec.nics),
    )
