"""What an application's processes hold that may tie them to their host. Nothing here looks at one."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Holding(StrEnum):
    """The sort of a thing that is held."""

    FILE = "file"
    """A path, or the kernel's name for what has none, as /proc/PID/fd shows it."""
    ELSEWHERE = "elsewhere"
    """A file of a file system that the process does not see."""
    DEVICE = "device"
    SOCKET = "socket"
    """The kernel's name of its protocol."""
    WATCH = "watch"
    """An inotify watch: the type of the file system that it is on."""
    MOUNT = "mount"
    """The type of a mounted file system."""
    TRACER = "tracer"
    """Another process that traces this one."""
    DELETED = "deleted"
    """An open file without any name; `bytes`: what it holds."""
    UNNAMED = "unnamed"
    """An open file whose name is gone, though it has another one, or lies in the image below."""
    OUTSIDE = "outside"
    """A unix socket whose other end is none of the application's."""
    CALL = "call"
    """A unix socket with something to be read by a listener that has not accepted it."""
    GROUP = "group"
    """A multicast group that its network listens to."""
    SPACE = "space"
    """A name space of its own, by its kind."""
    PACKETS = "packets"
    """A pipe that keeps packets apart (O_DIRECT)."""
    POLL = "poll"
    """An epoll that waits for something which this process has closed; `what`: the number that it had."""
    LEADERLESS = "leaderless"
    """Its first thread has ended and others go on."""


GHOST_BYTES_MAX: Final = 256 << 20
"""An open file without a name goes with the memory: never a longer one."""


@dataclass(frozen=True, order=True)
class Held:
    """One thing, and the process (by its number on the host) that holds it."""

    sort: Holding
    what: str
    pid: int
    place: str = ""
    """Where it is mounted, for a mount."""
    bytes: int = 0


@dataclass(frozen=True)
class Engine:
    """What takes applications out of a host and puts them into another one."""

    criu: str
    """Its version, empty where it cannot work; then `fault` says why."""
    fault: str = ""
    kernel: str = ""
    cpu_flags: frozenset[str] = frozenset()
    soft_dirty: bool = False
    """The kernel notes which pages were written; without it memory cannot leave before the application stops."""
    on_demand: bool = False
    """Its memory may be put in place after it runs there."""
    by_place: bool = False
    """Its agent takes memory that goes before the application stands, and puts it where it will be read."""
