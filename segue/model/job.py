"""What an agent does to its own host when it is asked: commands, a reboot; and what the host consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

NOTHING_TO_DO: Final = 70
"""Exit code of a command that had nothing to do (the same as CloudStack's maintenance hooks)."""
KEPT_BYTES: Final = 32 << 10
"""Of a command's output, at its beginning and again at its end; what is between is counted and dropped."""
WITHIN_MOST_S: Final = 86_400.0


class JobState(StrEnum):
    """What became of a command."""

    RUNNING = "running"
    DONE = "done"
    NOTHING = "nothing"
    """It said that there was nothing to do."""
    FAILED = "failed"
    LATE = "late"
    """Its time was over; it was ended."""
    LOST = "lost"
    """It ended while nobody watched, or the host lost power: it may be done, half done, or not begun."""


@dataclass(frozen=True)
class JobWish:
    """Body of PUT /v1/jobs/{id}. `script` is given to /bin/sh -e; it runs as root."""

    script: str
    within_s: float = 600.0


@dataclass(frozen=True)
class Job:
    """One command on one host. A second wish with its id never runs it again."""

    id: str
    wish: JobWish
    state: JobState
    begun_s: float
    boot: str
    """The boot of the host in which it was begun."""
    pid: int = 0
    ended_s: float = 0.0
    code: int | None = None
    """Exit code; below zero: minus the signal that ended it."""
    head: str = ""
    tail: str = ""
    """Output: the beginning, and the end where there is more."""
    output_bytes: int = 0
    why: str = ""

    @property
    def ended(self) -> bool:
        """True once nothing more will happen."""
        return self.state is not JobState.RUNNING


@dataclass(frozen=True)
class Reboot:
    """A reboot that was asked for. It is over as soon as the host has another boot than `boot`."""

    id: str
    boot: str
    asked_s: float
    why: str = ""
    """Why it was not done."""


@dataclass(frozen=True)
class Closing:
    """Body of PUT /v1/closed: the host is about to lose its power by another's hand, within that time or not at all."""

    within_s: float = 600.0


@dataclass(frozen=True)
class Inventory:
    """What may change when a host is worked on; compared before and after."""

    boot: str
    kernel: str
    qemu: str
    os: str = ""
    microcode: str = ""
    cpu: str = ""
    cpu_flags: tuple[str, ...] = ()
    firmware: str = ""
    cpus: int = 0
    memory_bytes: int = 0
    cpu_models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """CPU model -> the features of it that this host lacks, as in HostFacts."""
    machines: tuple[str, ...] = ()
    commands: bool = False
    """Its agent.toml lets the controller run commands and reboot it."""
    reboot_wanted: str = ""
    """Why the host's own system wants a reboot; empty where it does not."""
