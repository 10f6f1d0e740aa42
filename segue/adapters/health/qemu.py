"""QEMU processes that are stuck in the kernel, as a rule for want of storage: their guests stall. Judges nothing."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

from segue.adapters.health.source import Look, Roots, Unseen, folders, text
from segue.model.health import Kind, Part, Sample

NAMES: Final = ("segue-", "qemu-system-", "qemu-kvm")
"""How a guest's process may call itself: agents name it after its guest."""
PROGRAM: Final = "qemu-"
UNINTERRUPTIBLE: Final = "D"


class Qemu:
    """Port `Probe`. A thread is stuck if it waited at the last look too, and was not run in between."""

    name = "qemu"
    every_s = 30.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._proc = roots.proc
        self._waiting: dict[Path, str] = {}
        self._guests: dict[tuple[Path, str], str] = {}
        """Their command lines are read once: the kernel may make whoever reads that of a stuck one wait with it."""

    def look(self) -> Sample:
        """Each guest: 1 where a thread of its QEMU is stuck."""
        look, waiting, guests = Look(self.name), {}, {}
        processes = folders(self._proc, "[0-9]*")
        if not processes:
            look.miss(Unseen(self._proc, "it shows no processes"))
        for process in processes:
            try:
                called = text(process / "comm")
                if not called.startswith(NAMES):
                    continue
                known = self._guests.get((process, called))
                guest = guests[process, called] = _guest(process) if known is None else known
                if not guest:
                    continue
                stuck = False
                for thread in folders(process / "task", "[0-9]*"):
                    if _state(thread) == UNINTERRUPTIBLE:
                        waiting[thread] = _switches(thread)
                        stuck |= self._waiting.get(thread) == waiting[thread]
                look.see(Part(Kind.GUEST, guest), "stalled", float(stuck), process / "task")
            except Unseen:
                continue  # It ended while we looked.
        self._waiting, self._guests = waiting, guests
        return look.sample()


def _state(thread: Path) -> str:
    """The third field of stat; the second is in brackets, and may hold anything."""
    after = text(thread / "stat").rpartition(")")[2].split()
    return after[0] if after else ""


def _switches(thread: Path) -> str:
    lines = text(thread / "status").splitlines()
    return " ".join(line.split()[-1] for line in lines if "ctxt_switches" in line)


def _guest(process: Path) -> str:
    """What follows -name; its process number where there is none. Empty for what is no QEMU."""
    words = text(process / "cmdline").split("\0")
    if not Path(words[0]).name.startswith(PROGRAM):
        return ""
    for option, value in pairwise(words):
        if option == "-name":
            return value.split(",")[0].removeprefix("guest=")
    return process.name
