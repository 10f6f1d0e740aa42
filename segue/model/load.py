"""What hosts and guests use of their hosts, as agents measure it: counters, rates, smoothed rates. Figures only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SETTLED_S: Final = 120.0
"""Measured for less than that, a figure may still be that of a start."""


@dataclass(frozen=True, slots=True)
class Meter:
    """Counters at one instant; each only grows, or begins again where a process or a card was made anew."""

    cpu_s: float = 0.0
    waited_s: float = 0.0
    """Time in which vCPUs could have run and had no processor."""
    received_bytes: int = 0
    sent_bytes: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Use:
    """The same as rates."""

    cpu_cores: float = 0.0
    waiting_cores: float = 0.0
    """What its vCPUs would have used besides, had there been processors."""
    received_bytes_per_s: float = 0.0
    sent_bytes_per_s: float = 0.0
    read_bytes_per_s: float = 0.0
    written_bytes_per_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Smoothed:
    """Averages in which older use counts less and less."""

    now: Use = field(default_factory=Use)
    """Over about the last minute."""
    before: Use = field(default_factory=Use)
    """Over about the last ten minutes."""
    span_s: float = 0.0
    """How long it has been measured."""


@dataclass(frozen=True, slots=True)
class Pressure:
    """Shares of the last minute in which some task of the host waited for it (PSI, `some avg60`)."""

    cpu: float = 0.0
    memory: float = 0.0
    io: float = 0.0


@dataclass(frozen=True, slots=True)
class GuestLoad:
    """One guest that runs on the host that tells."""

    uuid: str
    name: str
    use: Smoothed
    held_bytes: int = 0
    """Memory that it really holds."""
    local_bytes: int = 0
    """What its disks take that lie on the host alone."""
    storages: tuple[str, ...] = ()
    """Shared storages on which it has disks."""


@dataclass(frozen=True, slots=True)
class HostLoad:
    """One host, all that runs on it together."""

    name: str
    cpus: int
    use: Smoothed
    memory_total_bytes: int
    memory_available_bytes: int
    pressure: Pressure | None = None
    """None: its kernel does not measure it."""
    link_bytes_per_s: int = 0
    """What migrations may use of its link; 0: its speed is not known."""
    local_free_bytes: int = 0
    """Room on the storage of its own."""
    storages: tuple[str, ...] = ()
    """Shared storages that it sees."""
    guests: tuple[GuestLoad, ...] = ()
