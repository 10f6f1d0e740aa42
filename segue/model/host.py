"""What a host can do, as its agent measured it."""

from __future__ import annotations

from dataclasses import dataclass, field

from segue.model.belongings import Engine
from segue.model.lease import LeaseFacts
from segue.model.network import NetworkFacts
from segue.model.trust import Certificate


@dataclass(frozen=True)
class HostFacts:
    """Measured by the agent; units are in the names."""

    name: str
    instance: str
    segue_version: str
    wire_version: int
    """The oldest version spoken: agents that do not negotiate look at this one alone."""
    qemu_version: str
    accelerator: str
    machines: tuple[str, ...]
    cpu_models: dict[str, tuple[str, ...]]
    """CPU model -> the features of it that this host lacks (QEMU: unavailable-features)."""
    memory_total_bytes: int
    memory_free_bytes: int
    cpus: int
    bridges: tuple[str, ...]
    guests: tuple[str, ...]
    kernel: str
    wire_versions: tuple[int, int] | None = None
    """(oldest, newest) that the agent speaks; None from an agent that does not negotiate."""
    post_copy: str = "its agent does not say that it can"
    """Empty where a guest may run before its memory is there; else why not."""
    channels: str = "off"
    """Memory and disks on their way: `required` (TLS) or `off`; an agent that does not say so has no TLS."""
    queue_entries: dict[str, int] = field(default_factory=dict)
    """Virtio device -> the largest queue of it that this host's QEMU takes in; empty where it is not known."""
    guests_outdated: tuple[str, ...] = ()
    """Those that run in another QEMU than the one that is installed."""
    networks: dict[str, NetworkFacts] = field(default_factory=dict)
    vlan_bridges: tuple[str, ...] = ()
    """Bridges that filter VLANs."""
    certificate: Certificate | None = None
    """Of its agent; None from one that does not say."""
    app_runtime: str = ""
    """What runs applications there, with its version; empty where they cannot run."""
    app_engine: Engine | None = None
    """What moves them; None from an agent that does not say."""
    app_images: tuple[str, ...] = ()
    """The images that are there."""
    lease: LeaseFacts | None = None
    """None from a host whose guests run without one."""
    denials: dict[str, str] = field(default_factory=dict)
    """Hosts to which it grants no lease -> the incident for which."""
