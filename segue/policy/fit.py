"""Says why a guest cannot be on a host, in words; without regard to other guests' rules, which spread.py judges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from segue.model.fleet import HOST_DOMAIN, Amounts, FleetGuest, FleetHost

GIB: Final = 1 << 30
SLACK: Final = 1e-6
"""Sums of vCPUs and rates are rounded in their last digit; a guest is not refused for that."""


def room(host: FleetHost) -> Amounts:
    """All that may be promised to guests: capacity times what may be overcommitted."""
    return Amounts(
        int(host.memory_bytes * host.memory_overcommit),
        host.cpus * host.cpu_overcommit,
        host.disk_bytes,
        host.network_bytes_per_s,
    )


def obstacles(guest: FleetGuest, host: FleetHost) -> tuple[str, ...]:
    """Everything that is wrong whatever else is on the host; none means that it suits."""
    return (*_labels(guest, host), *_machine(guest, host), *_reach(guest, host))


def shortages(needs: Amounts, free: Amounts) -> tuple[str, ...]:
    """What the host is short of."""
    return tuple(_shortages(needs, free))


def _labels(guest: FleetGuest, host: FleetHost) -> Iterator[str]:
    for taint in host.taints:
        if taint.hard and taint.name not in guest.tolerates:
            yield f"is tainted {taint.name}"
    for label, values in guest.wants.items():
        found = host.domain(label)
        if found not in values and label == HOST_DOMAIN:
            yield "is not among the hosts that may take it"
        elif found not in values:
            yield f"{label} is {found or 'not set'}, wanted: {' or '.join(values)}"


def _machine(guest: FleetGuest, host: FleetHost) -> Iterator[str]:
    if guest.is_app:
        yield from _application(guest, host)
    if guest.accelerator and host.accelerator and guest.accelerator != host.accelerator:
        yield f"runs guests by {host.accelerator}, this one needs {guest.accelerator}"
    if guest.machine and host.machines and guest.machine not in host.machines:
        yield f"has no machine type {guest.machine}"
    model = guest.cpu_model.partition(",")[0]
    lacking: set[str] = set()
    if model and host.cpu_models:
        if model not in host.cpu_models:
            yield f"has no CPU model {model}"
        lacking |= set(host.cpu_models.get(model, ()))
    if host.cpu_features:
        lacking |= guest.cpu_features - host.cpu_features
    if lacking:
        yield f"lacks {', '.join(sorted(lacking))}"


def _application(guest: FleetGuest, host: FleetHost) -> Iterator[str]:
    if not host.runs_apps:
        yield "runs no applications"
    elif guest.app_image and host.takes_no_apps:
        yield f"takes no running application in: {host.takes_no_apps}"
    elif guest.app_image and host.app_images is not None and guest.app_image not in host.app_images:
        yield f"does not have its image (`segue app pull {guest.app_reference} --host {host.name}`)"


def _reach(guest: FleetGuest, host: FleetHost) -> Iterator[str]:
    if missing := guest.networks - host.networks:
        yield f"has no network {', '.join(sorted(missing))}"
    if missing := guest.storages - host.storages:
        yield f"does not see storage {', '.join(sorted(missing))}"


def _shortages(needs: Amounts, free: Amounts) -> Iterator[str]:
    if needs.memory_bytes > free.memory_bytes:
        yield f"{_gib(needs.memory_bytes - free.memory_bytes)} short of memory"
    if needs.vcpus > free.vcpus + SLACK:
        yield f"{_count(needs.vcpus - free.vcpus)} vCPUs short"
    if needs.disk_bytes > free.disk_bytes:
        yield f"{_gib(needs.disk_bytes - free.disk_bytes)} short of disk"
    if needs.network_bytes_per_s > free.network_bytes_per_s * (1 + SLACK):
        short = needs.network_bytes_per_s - free.network_bytes_per_s
        yield f"{short * 8e-6:.0f} Mbit/s short of network"


def _gib(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / (1 << 20):.1f} MiB"


def _count(number: float) -> str:
    return f"{number:.0f}" if number == int(number) else f"{number:.1f}"


def guest_kind(guest: FleetGuest) -> tuple[object, ...]:
    """Guests of one kind suit the same hosts."""
    return (
        guest.is_app,
        guest.app_image,
        guest.accelerator,
        guest.machine,
        guest.cpu_model,
        guest.cpu_features,
        guest.networks,
        guest.storages,
        guest.tolerates,
        tuple(sorted(guest.wants.items())) if guest.wants else (),
    )


def host_kind(host: FleetHost, labels: Iterable[str]) -> tuple[object, ...]:
    """Hosts of one kind suit the same guests. labels: those that any guest asks for."""
    return (
        host.runs_apps,
        host.takes_no_apps,
        host.app_images,
        host.accelerator,
        host.machines,
        tuple(sorted(host.cpu_models.items())),
        host.cpu_features,
        host.networks,
        host.storages,
        tuple(taint.name for taint in host.taints if taint.hard),
        tuple(host.domain(label) for label in labels),
    )
