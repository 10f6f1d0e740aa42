"""Says whether a guest fits onto a host, with every reason why not; it looks only at figures it is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from segue.errors import Kind, Refused
from segue.model.guest import Guest
from segue.model.host import HostFacts

QEMU_OLDEST = (10, 0)
PLAIN_MTU = 1500


@dataclass(frozen=True)
class Already:
    """What is on the host: names that are taken, and files the guest needs that are not seen there."""

    names: tuple[str, ...] = ()
    missing_files: tuple[str, ...] = field(default=())


def obstacles(guest: Guest, host: HostFacts, already: Already) -> tuple[str, ...]:
    """Every reason why this guest cannot run there; none means that it fits."""
    return tuple(dict.fromkeys(_obstacles(guest, host, already)))


def against_post_copy(host: HostFacts) -> tuple[str, ...]:
    """Why a guest cannot run there before its memory; none means that it can."""
    if not host.post_copy:
        return ()
    return (f"it cannot take a guest in by post-copy ({host.post_copy}); leave post-copy out of the ladder",)


def demand(guest: Guest, host: HostFacts, already: Already) -> None:
    """Raises Refused with all obstacles at once, so that nobody has to find them one by one."""
    found = obstacles(guest, host, already)
    if found:
        raise Refused(
            what=f"{guest.name} cannot run on {host.name}",
            why="; ".join(found),
            todo="Choose another host, or mend what is named here.",
        )


def _obstacles(guest: Guest, host: HostFacts, already: Already) -> Iterator[str]:
    yield from _app_obstacles(host) if guest.is_app else _machine_obstacles(guest, host)
    if guest.memory_bytes > host.memory_free_bytes:
        short = guest.memory_bytes - host.memory_free_bytes
        yield f"it is {short / (1 << 30):.1f} GiB short of memory"
    yield from _network_obstacles(guest, host)
    if guest.name in already.names:
        yield f"it has a guest named {guest.name} already"
    for path in already.missing_files:
        yield f"it does not see {path}"


def _app_obstacles(host: HostFacts) -> Iterator[str]:
    if not host.app_runtime:
        yield "it runs no applications (see `segue doctor`)"


def _machine_obstacles(guest: Guest, host: HostFacts) -> Iterator[str]:
    if version(host.qemu_version) < QEMU_OLDEST:
        yield f"its QEMU is {host.qemu_version}, 10.0 or newer is needed"
    if guest.accelerator != host.accelerator:
        yield f"it runs guests by {host.accelerator}, this one was started by {guest.accelerator}"
    if guest.machine not in host.machines:
        yield f"its QEMU {host.qemu_version} has no machine type {guest.machine}"
    yield from cpu_obstacles(guest, host)


def cpu_obstacles(guest: Guest, host: HostFacts) -> Iterator[str]:
    """What the host's QEMU or processor lacks for the guest's processor."""
    model = guest.cpu_model.split(",")[0]
    if model not in host.cpu_models:
        yield f"its QEMU has no CPU model {model}"
        return
    missing = host.cpu_models[model]
    if missing:
        yield f"its CPU lacks {', '.join(sorted(missing))}"


def _network_obstacles(guest: Guest, host: HostFacts) -> Iterator[str]:
    for nic in guest.nics:
        network = host.networks.get(nic.network)
        if nic.network and network is None:
            yield f"it has no network {nic.network}"
            continue
        bridge = network.bridge if network else nic.bridge
        if bridge not in host.bridges:
            yield f"it has no bridge {bridge}"
        elif (nic.vlan or nic.trunk) and bridge not in host.vlan_bridges:
            yield f"its bridge {bridge} does not filter VLANs, and {nic.id} is in one"
        mtu = nic.mtu or PLAIN_MTU
        if network and network.mtu < mtu:
            yield f"its network {nic.network} carries {network.mtu} bytes in a frame, {nic.id} sends {mtu}"


def between(guest: Guest, source: HostFacts, target: HostFacts) -> tuple[str, ...]:
    """Reasons that lie between two hosts."""
    return tuple(_between(source, target)) + tuple(_networks_differ(guest, source, target))


def _networks_differ(guest: Guest, source: HostFacts, target: HostFacts) -> Iterator[str]:
    """Equal names must mean the same network, as far as two hosts can tell."""
    for name in sorted({nic.network for nic in guest.nics}):
        here, there = source.networks.get(name), target.networks.get(name)
        if here and there and here.vni != there.vni:
            yield f"its network {name} is another one than ours: VNI {there.vni}, ours is {here.vni}"


def _between(source: HostFacts, target: HostFacts) -> Iterator[str]:
    if source.name == target.name:
        yield "it is there already"
    yield from unlike(source, target)


def unlike(source: HostFacts, target: HostFacts) -> Iterator[str]:
    """What was configured differently on two hosts and must be alike."""
    if target.channels != source.channels and target.wire_versions:  # An agent without has no such key.
        ours, theirs = source.channels, target.channels
        yield f"[tls] channels is '{theirs}' in its agent.toml, '{ours}' on {source.name}"


def queue_obstacles(entries: Mapping[str, int], target: HostFacts) -> tuple[str, ...]:
    """Queues of the guest's virtio devices that the target's QEMU does not load. entries: device -> entries now."""
    larger = [
        f"{device} {count} (at most {target.queue_entries[device]})"
        for device, count in sorted(entries.items())
        if count > target.queue_entries.get(device, count)
    ]
    if not larger:
        return ()
    return (
        f"its QEMU {target.qemu_version} does not take in queues as large as the QEMU made them on which the guest "
        f"began: {', '.join(larger)}; a guest that begins on {target.name} moves both ways",
    )


def version(text: str) -> tuple[int, ...]:
    """'10.0.13' -> (10, 0, 13); anything that is no number ends it."""
    numbers: list[int] = []
    for part in text.split("."):
        if not part.isdecimal():
            break
        numbers.append(int(part))
    return tuple(numbers)


def refuse(guest: Guest, target: str, reasons: tuple[str, ...]) -> None:
    """Raises Refused when there are reasons."""
    if reasons:
        raise Refused(
            what=f"cannot move {guest.name} to {target}",
            why="; ".join(reasons),
            todo="Choose another host, or mend what is named here.",
            kind=Kind.POLICY,
        )
