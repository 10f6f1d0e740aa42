"""What a guest is: the specification its owner keeps in the journal. Nothing here runs anything."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from segue.model.application import Application
from segue.model.crash import OnCrash


@dataclass(frozen=True)
class Disk:
    """A virtual disk. `path` is the same on every host that sees the storage it lies on."""

    id: str
    path: str
    format: str = "raw"


@dataclass(frozen=True)
class Nic:
    """A network card. It is plugged into `bridge`, or into what each host has configured as `network`.

    `address` and `address6` are CIDR, given to the guest's kernel command line, or empty.
    """

    id: str
    mac: str
    bridge: str = ""
    address: str = ""
    address6: str = ""
    network: str = ""
    vlan: int = 0
    """The guest's frames carry no tag, and are in this VLAN of the bridge; 0: the bridge's own choice."""
    trunk: tuple[int, ...] = ()
    """VLANs that the guest tags itself."""
    mtu: int = 0
    """Told to the guest by the card (virtio); 0: 1500, and the guest is not told."""

    @property
    def place(self) -> str:
        """Where it is plugged in, for people."""
        return f"network {self.network}" if self.network else f"bridge {self.bridge}"


@dataclass(frozen=True)
class Guest:
    """A machine, or an application where `app` is set; equal on source and target, or its state does not fit.

    Of an application everything from `cpu_model` to `disks` is empty: see `application`.
    """

    name: str
    uuid: str
    memory_bytes: int
    vcpus: int = 1
    cpu_model: str = "Nehalem"
    machine: str = "pc-q35-10.0"
    accelerator: str = "tcg"
    kernel: str = ""
    initrd: str = ""
    cmdline: str = ""
    disks: tuple[Disk, ...] = ()
    nics: tuple[Nic, ...] = ()
    uid: int = 0
    """User (and group) number of its QEMU, the same on every host, as its disks belong to it; 0: the shared user."""
    watched: bool = False
    """It has a device that tells its kernel's panic (pvpanic) and a watchdog (i6300esb); older guests have none."""
    on_crash: OnCrash = field(default_factory=OnCrash)
    """Not told to QEMU."""
    app: Application | None = None

    @property
    def is_app(self) -> bool:
        """True for an application in a container."""
        return self.app is not None


def application(name: str, uuid: str, memory_bytes: int, app: Application, nics: tuple[Nic, ...]) -> Guest:
    """A guest that is no machine: it has nothing of one. A part of a processor counts as one, where room is counted."""
    return Guest(
        name=name,
        uuid=uuid,
        memory_bytes=memory_bytes,
        vcpus=max(1, math.ceil(app.cpus)),
        cpu_model="",
        machine="",
        accelerator="",
        nics=nics,
        app=app,
    )


class RunState(StrEnum):
    """What QEMU itself says of the guest, in the words an operator uses."""

    RUNNING = "running"
    PAUSED = "paused"
    INCOMING = "incoming"
    STOPPED = "stopped"
    CRASHED = "crashed"
