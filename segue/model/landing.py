"""What source and target tell each other so that an empty copy can be made for a guest."""

from __future__ import annotations

from dataclasses import dataclass, field

from segue.model.guest import Guest
from segue.model.ladder import Shape
from segue.model.storage import DiskCopy


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


@dataclass(frozen=True)
class Landing:
    """The target's answer: where the memory goes and where the tunnel for held frames ends."""

    memory_address: str
    tunnel_address: str
    storage_address: str = ""
    """Where disks are taken in, or lent (NBD), host:port; empty where none is to be copied."""


@dataclass(frozen=True)
class Handed:
    """How a handoff ended: resumed there at that time, or the token came back before it ever ran."""

    returned: bool
    resumed_at_s: float = 0.0
    marks_here: tuple[tuple[str, float], ...] = ()
    """What happened on this host, by its wall clock; only to be shown."""
    marks_there: tuple[tuple[str, float], ...] = ()
    """The same on the other host, by its own."""
