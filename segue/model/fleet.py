"""What planners know of many hosts at once: room, needs, labels, rules, links. Plain nouns; nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

HOST_DOMAIN: Final = "host"
"""The domain that every host is by itself; all other domains are labels."""


@dataclass(frozen=True, slots=True)
class Amounts:
    """What a guest needs, or what a host has for its guests. `disk_bytes` is storage of the host's own."""

    memory_bytes: int = 0
    vcpus: float = 0.0
    disk_bytes: int = 0
    network_bytes_per_s: float = 0.0


LINK_BYTES_PER_S: Final = 125e6
"""A link of which nobody said how fast it is."""


@dataclass(frozen=True, slots=True)
class Load:
    """What a guest used on average over a span, as its host's agent measured it."""

    cpu_cores: float = 0.0
    network_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Taint:
    """Keeps guests away that do not tolerate it; a soft one only where there is another host."""

    name: str
    hard: bool = True


@dataclass(frozen=True, slots=True)
class FleetHost:
    """A host as planners see it. Empty machines, CPU and accelerator: not known, not checked."""

    name: str
    memory_bytes: int
    """For guests: what the host keeps for itself is not in it."""
    cpus: float
    disk_bytes: int = 0
    network_bytes_per_s: float = 0.0
    link_bytes_per_s: float = LINK_BYTES_PER_S
    """What migrations may use of its link, each way."""
    memory_overcommit: float = 1.0
    cpu_overcommit: float = 4.0
    """vCPUs that may be promised for each processor."""
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    cordoned: bool = False
    """Takes no guest in; those that are there stay."""
    accelerator: str = ""
    machines: frozenset[str] = frozenset()
    cpu_models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """CPU model -> the features of it that this host lacks, as in HostFacts."""
    cpu_features: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    storages: frozenset[str] = frozenset()
    runs_apps: bool = True
    takes_no_apps: str = ""
    """Why no running application can be moved there; empty where one can."""
    app_images: frozenset[str] | None = None
    """Digests of the images of applications that it has; None where that is not known, and not checked."""

    def domain(self, label: str) -> str:
        """Which domain of that kind it is in; empty where nobody said."""
        return self.name if label == HOST_DOMAIN else self.labels.get(label, "")


@dataclass(frozen=True, slots=True)
class FleetGuest:
    """A guest as planners see it. `host` is empty while it is nowhere."""

    name: str
    needs: Amounts
    host: str = ""
    moving_to: str = ""
    """A migration is under way: it counts on both hosts and is left alone."""
    pinned: str = ""
    """Why it must not move; empty where it may."""
    load: Load = field(default_factory=Load)
    load_before: Load | None = None
    """Over a longer span than `load`: what is in one of them alone is a spike, or over."""
    held_bytes: int | None = None
    """Memory that it really holds; None: all of it."""
    dirty_bytes_per_s: float = 0.0
    working_set_bytes: int | None = None
    importance: int = 0
    """Where there is not room for all, the more important are placed first."""
    labels: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Label of a host -> the values that will do."""
    prefers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tolerates: frozenset[str] = frozenset()
    accelerator: str = ""
    machine: str = ""
    cpu_model: str = ""
    cpu_features: frozenset[str] = frozenset()
    networks: frozenset[str] = frozenset()
    storages: frozenset[str] = frozenset()
    """Shared storage that it needs to see."""
    is_app: bool = False
    """It needs a host that runs applications."""
    app_image: str = ""
    """Digest of the image that a running application needs where it is moved; a new one has its image brought."""
    app_reference: str = ""
    """What people call that image."""

    @property
    def copied_bytes(self) -> int:
        """What a migration has to copy: the memory that it holds, and disks that only its host has."""
        held = self.needs.memory_bytes if self.held_bytes is None else self.held_bytes
        return held + self.needs.disk_bytes


class Spread(StrEnum):
    """What a rule wants of its guests."""

    APART = "apart"
    TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Rule:
    """Guests that must (or, if it is soft, should) be apart or together, by host or by any label of hosts."""

    name: str
    spread: Spread
    members: Mapping[str, str]
    """Labels that make a guest one of them."""
    domain: str = HOST_DOMAIN
    at_most: int = 1
    """apart: so many may share a domain."""
    hard: bool = True
    weight: float = 0.1
    """soft: what breaking it once is worth, as a share of a host."""

    def takes(self, guest: FleetGuest) -> bool:
        """True for a guest that has all of the labels."""
        return all(guest.labels.get(label) == value for label, value in self.members.items())


@dataclass(frozen=True, slots=True)
class Uplink:
    """The link of a whole domain, such as a rack: moves that leave it or come into it share it, each way."""

    label: str
    value: str
    bytes_per_s: float


@dataclass(frozen=True, slots=True)
class Domain:
    """`rack=r1` is within `feed=a` and `row=3`: its hosts inherit those labels."""

    label: str
    value: str
    within: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of it, at one instant. Planners take it and never change it."""

    hosts: tuple[FleetHost, ...] = ()
    guests: tuple[FleetGuest, ...] = ()
    rules: tuple[Rule, ...] = ()
    uplinks: tuple[Uplink, ...] = ()
    domains: tuple[Domain, ...] = ()
    failure_domains: tuple[str, ...] = ()
    """Labels whose values may fail or be switched off as one: the audit tries each."""
