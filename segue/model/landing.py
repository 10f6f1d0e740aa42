"""What source and target tell each other so that an empty copy can be made for a guest."""

from __future__ import annotations

from dataclasses import dataclass, field

from segue.model.guest import Guest
from segue.model.ladder import Shape
from segue.model.storage import DiskCopy


@dataclass(frozen=True)
class Region:
    """Where a guest has put one region (base address register) of a PCI device of its first bus."""

    slot: int
    function: int
    bar: int
    """0 to 5."""
    address: int
    is_io: bool = False
    is_wide: bool = False
    """A 64-bit register: its upper half is the next one."""
    is_master: bool = False
    """Its device reaches memory by itself."""


@dataclass(frozen=True)
class Placement:
    """The source's wish: make an empty, paused copy of this guest and a tunnel end for its frames."""

    guest: Guest
    epoch: int
    migration: str
    source: str
    tunnel_id: int
    wire: int = 1
    """The version that source and target speak about this migration."""
    secret: str = field(default="", repr=False)
    """Key of this migration's channels, hexadecimal; only between the two agents, in no log, record or answer."""
    shape: Shape = field(default_factory=Shape)
    copies: tuple[DiskCopy, ...] = ()
    """Disks that are not on storage which both hosts see."""
    origin: str = ""
    """Storage post-copy: where the source lends them (NBD), host:port; empty where they come before the guest."""
    cold: bool = False
    """There is nothing to copy: the guest is to be made ready to start from its disks."""
    traceparent: str = ""
    """The migration's span, as W3C Trace Context writes it; empty from an agent that knows of none."""
    regions: tuple[Region, ...] = ()
    """Where its devices are now; none from an agent that does not say."""
    without_description: bool = False
    """The source's QEMU can leave out the description of its devices' state, which nobody reads."""


@dataclass(frozen=True)
class Landing:
    """The target's answer: where the memory goes and where the tunnel for held frames ends."""

    memory_address: str
    tunnel_address: str
    storage_address: str = ""
    """Where disks are taken in, or lent (NBD), host:port; empty where none is to be copied."""
    without_description: bool = False
    """The target's QEMU expects no description of the devices' state: the two have to agree, or it waits for it."""


@dataclass(frozen=True)
class Handed:
    """How a handoff ended: resumed there at that time, or the token came back before it ever ran."""

    returned: bool
    resumed_at_s: float = 0.0
    marks_here: tuple[tuple[str, float], ...] = ()
    """What happened on this host, by its wall clock; only to be shown."""
    marks_there: tuple[tuple[str, float], ...] = ()
    """The same on the other host, by its own."""
