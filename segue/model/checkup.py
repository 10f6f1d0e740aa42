"""What a host shows of itself when it is examined, and what is found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Level(StrEnum):
    """fail: something that segue promises does not work here; warn: it will not be as good as it could be."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `why` and `todo` are empty where all is well."""

    level: Level
    check: str
    what: str
    why: str = ""
    todo: str = ""


@dataclass(frozen=True)
class Certificate:
    """The host's own certificate. `unreadable`: why it could not be read; then nothing else is known."""

    days_left: float = 0.0
    ca_days_left: float = 0.0
    signed_by_ca: bool = True
    host_names: tuple[str, ...] = ()
    """Names of hosts in it: segue://FLEET/host/NAME."""
    key_others_may_read: bool = False
    unreadable: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder of the configuration. `fault`: why it cannot be used; writable where segue has to write."""

    key: str
    path: str
    file_system: str = ""
    free_bytes: int = 0
    total_bytes: int = 0
    fault: str = ""


@dataclass(frozen=True)
class AppSigns:
    """What the host has for applications."""

    missing_programs: tuple[str, ...] = ()
    """Without one of these it runs none."""
    move_fault: str = ""
    """Why none of them moves; empty where CRIU does its work here."""
    memory_way: str = ""
    """How their memory goes when they do."""
    missing_limits: tuple[str, ...] = ()
    """Controllers that its version 2 cgroups lack."""
    filters: bool = True
    """It has a list of the system calls that applications may use."""
    cgroup_fault: str = ""
    """Why the agent cannot make cgroups for them; empty if it can."""
    own_mounts: bool = False
    """The agent has mounts of its own, which go when it ends."""


@dataclass(frozen=True)
class PeerSigns:
    """Another host as this one reaches it. `fault`: why not."""

    name: str
    fault: str = ""
    not_trusted: bool = False
    clock_offset_s: float = 0.0
    clock_uncertainty_s: float = 0.0
    misfits: tuple[str, ...] = ()
    """What keeps guests from going there: versions, channels."""
    widest_bytes: int = 0
    """The largest unfragmented IP packet of those tried that was answered; 0 where none was."""


@dataclass(frozen=True)
class HostSigns:
    """Gathered by the agent; all sizes in bytes, all times in seconds."""

    name: str
    channels: str
    qemu_version: str
    missing_programs: tuple[str, ...]
    compressions: tuple[str, ...]
    """What QEMU can compress memory with on its way."""
    accelerator: str
    processor_virtualizes: bool
    kvm_fault: str
    """Why QEMU's user cannot open /dev/kvm; empty if it can."""
    userfault: str
    """Why QEMU's user cannot handle page faults of a post-copy; empty if it can."""
    memfd_fault: str
    user_fault: str
    """Why no guest could run under a user of its own."""
    shares_user: bool
    network_faults: dict[str, str]
    """Kernel facility -> why it cannot be used here; all were tried."""
    conntrack_fault: str
    bridge: str
    bridge_there: bool
    bridge_mtu: int
    certificate: Certificate
    folders: tuple[Folder, ...]
    sync_s: float
    """How long one small write to the journal's disk takes."""
    overcommit: int
    memory_total_bytes: int
    promised_bytes: int
    service: str
    """How the agent is started again: systemd, another supervisor's name, or empty."""
    failpoints: bool
    apps: AppSigns = field(default_factory=AppSigns)
    peers: tuple[PeerSigns, ...] = field(default=())
    fleet: str = ""
    """The id of the fleet that the host belongs to; empty: none yet."""
    foreign: tuple[str, ...] = ()
    """URLs of controllers of another fleet, which it does not obey."""
