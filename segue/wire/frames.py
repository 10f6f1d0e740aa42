"""Shapes that travel between CLI, agents and peers; encoded by msgspec, shown by FastAPI."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from segue.model.crash import OnCrash
from segue.model.guest import Guest
from segue.model.migration import Limits

BEHIND: Final = "segue-behind-s"
"""Header of a controller's answer: so old is what it knows, as it does not see its store any more."""


class Storage(StrEnum):
    """Where a disk lies: on storage that all hosts see, or on the guest's host alone."""

    SHARED = "shared"
    LOCAL = "local"


@dataclass(frozen=True)
class NewDisk:
    """An empty disk for a new guest; format: qcow2 or raw."""

    size_bytes: int
    format: str = "qcow2"
    storage: Storage = Storage.SHARED


@dataclass(frozen=True)
class NicWish:
    """One card of a guest to be created. Without `network` and `bridge` it goes to the host's own bridge."""

    network: str = ""
    bridge: str = ""
    mac: str = ""
    address: str = ""
    address6: str = ""
    vlan: int = 0
    trunk: tuple[int, ...] = ()
    mtu: int = 0


@dataclass(frozen=True)
class CreateGuest:
    """Body of POST /v1/guests. Sizes in bytes; `image` names a folder of the host's image store.

    `address` is the short form for a guest with one card; with `nics` it must be empty.
    """

    name: str
    image: str
    memory_bytes: int = 256 << 20
    vcpus: int = 1
    cpu_model: str = ""
    address: str = ""
    cmdline: str = ""
    start: bool = True
    nics: tuple[NicWish, ...] = ()
    storage: Storage = Storage.SHARED
    """For the image's own disk."""
    disks: tuple[NewDisk, ...] = ()
    """More disks, empty."""
    watch: bool = True
    """A device that tells its kernel's panic, and a watchdog: agents of wire version 1 cannot take such a guest in."""
    on_crash: OnCrash = field(default_factory=OnCrash)


@dataclass(frozen=True)
class MigrateGuest:
    """Body of POST /v1/guests/{name}/migrations."""

    to: str
    limits: Limits = field(default_factory=Limits)
    dry_run: bool = False
    force: bool = False
    """Begin although the forecast says that the budget cannot be kept."""
    cold: bool = False
    """It crashed, and is to be started there from its disks: what its policy wants elsewhere. `limits` do not count."""


@dataclass(frozen=True)
class UpdateGuest:
    """Body of POST /v1/guests/{name}/update."""

    limits: Limits = field(default_factory=Limits)
    again: bool = False
    """Also where the guest runs in the installed QEMU already."""
    or_migrate: str = ""
    """Where it cannot be done in place, the host to move the guest to; none: refuse."""


@dataclass(frozen=True)
class Shown:
    """A guest as the API shows it."""

    name: str
    host: str
    state: str
    phase: str
    epoch: int
    spec: Guest
    migration: str = ""
    reason: str = ""
    qemu: str = ""
    """The version of the QEMU in which it runs."""
    qemu_outdated: bool = False
    """Another QEMU is installed than the one in which it runs."""
    peer: str = ""
    """The other host of a handoff that is under way."""
    restarts: bool = False
    """It crashed, and is started again by itself."""


@dataclass(frozen=True)
class Notice:
    """One event of GET /v1/events."""

    seq: int
    time_s: float
    type: str
    subject: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Problem:
    """An error body after RFC 9457 with the three sentences of segue.errors."""

    status: int
    title: str
    kind: str
    what: str
    why: str
    todo: str
