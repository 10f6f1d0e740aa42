"""What a guest is: the specification its owner keeps in the journal. Nothing here runs anything."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Disk:
    """A virtual disk. `path` is the same on every host that sees the storage it lies on."""

    id: str
    path: str
    format: str = "raw"


@dataclass(frozen=True)
class Nic:
    """A network card on a host bridge. `address` is CIDR, given to the guest's kernel, or empty."""

    id: str
    mac: str
    bridge: str
    address: str = ""


@dataclass(frozen=True)
class Guest:
    """All that QEMU has to be told; equal on source and target, or the device state does not fit."""

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


class RunState(StrEnum):
    """What QEMU itself says of the guest, in the words an operator uses."""

    RUNNING = "running"
    PAUSED = "paused"
    INCOMING = "incoming"
    STOPPED = "stopped"
    CRASHED = "crashed"
