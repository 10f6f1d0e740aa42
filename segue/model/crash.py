"""How a guest can end against its will while its host lives, and what its operator wants done then. Only nouns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Cause(StrEnum):
    """What was seen; each is told apart from the others by its own evidence."""

    QEMU_ENDED = "qemu_ended"  # the process is gone: killed, or it ended by itself
    PANIC = "panic"  # the guest's kernel said so (pvpanic)
    WATCHDOG = "watchdog"  # the guest armed its watchdog (i6300esb) and does not feed it any more
    DEAF = "deaf"  # its QEMU is there and answers nobody
    SILENT = "silent"  # its guest agent, which once spoke, does not answer, and nothing of the guest moves
    MEMORY_LOST = "memory_lost"  # it ran before its memory was there, and its source died with the rest
    UNMOVABLE = "unmovable"  # its host fails, and no live migration takes it away; told by the controller
    CUT_OFF = "cut_off"  # its host's lease was over, and its own guard ended it
    POWER_LOST = "power_lost"  # its host was off; told by the host once it is back
    HOST_LOST = "host_lost"  # the whole host is silent; told by the controller
    APP_ENDED = "app_ended"  # an application's first process is gone, without success


OTHERS_ARE_ASKED: Final = frozenset({Cause.CUT_OFF, Cause.POWER_LOST})
"""It may live elsewhere: it starts on its host once every other one has said that it does not."""


class Sort(StrEnum):
    """What an operator decides about: causes that call for the same answer."""

    QEMU = "qemu"
    PANIC = "panic"
    HANG = "hang"
    SILENCE = "silence"
    UNMOVABLE = "unmovable"
    HOST = "host"


# An application's end is not here: its own restart policy is asked, see policy/restart.py. Nor is lost memory: whether
# a guest goes on without what was only there, a person says.
SORT: Final[Mapping[Cause, Sort]] = {
    Cause.QEMU_ENDED: Sort.QEMU,
    Cause.PANIC: Sort.PANIC,
    Cause.WATCHDOG: Sort.HANG,
    Cause.DEAF: Sort.HANG,
    Cause.SILENT: Sort.SILENCE,
    Cause.UNMOVABLE: Sort.UNMOVABLE,
    Cause.CUT_OFF: Sort.HOST,
    Cause.POWER_LOST: Sort.HOST,
    Cause.HOST_LOST: Sort.HOST,
}


class Deed(StrEnum):
    """What is done about a crash."""

    RESTART = "restart"  # from its disks, on its host while that one lives
    ELSEWHERE = "elsewhere"  # from its disks, on another host; here, where none takes it
    LEAVE = "leave"  # a person looks at it


@dataclass(frozen=True)
class OnCrash:
    """A guest's policy. It moves with the guest; it can be changed while the guest runs."""

    qemu: Deed = Deed.RESTART
    panic: Deed = Deed.RESTART
    hang: Deed = Deed.RESTART
    silence: Deed = Deed.LEAVE
    """Its services may well be served: only a report, unless the operator wants more."""
    unmovable: Deed = Deed.LEAVE
    """It runs, and its host is failing: to end it, and start it elsewhere, is for the operator to allow."""
    host: Deed = Deed.RESTART
    """On another host, once its own is proved to be off; on its own, where that one is back before."""
    per_hour: int = 5
    """So many restarts within an hour; after that it is left."""

    def wanted(self, cause: Cause) -> Deed:
        """What its operator wants done."""
        deed: Deed = getattr(self, SORT[cause])
        return deed


@dataclass(frozen=True)
class AppEnd:
    """How an application ended without success, when (by the wall clock), and what its restart policy says to it.

    wait_s: until it is started again; None where it is not.
    """

    how: str
    at_s: float
    wait_s: float | None
