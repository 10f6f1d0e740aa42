"""Ends the processes of one machine or of a whole lab, in whatever half-made state a crash has left it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from segue.errors import Kind, Refused
from segue.lab import cgroups, processes
from segue.lab.places import Places

FOLLOW_LIMIT_S: Final = 1.0
ROUNDS: Final = 10
"""A program that was just starting others has new ones after each look."""


def end_machine(first: int) -> None:
    """End a machine by its first process: the kernel ends all others of its pid namespace with it."""
    _end([first], processes.in_network_of([first]))


def end_lab(places: Places) -> bool:
    """End everything that bears the lab's mark, sits in its networks or its cgroup; true if there was anything.

    A machine that is just starting may not be seen: its parent has ended, and it came after the list. The cgroup's
    own list cannot miss it, and once the cgroup is gone it cannot come up any more.
    """
    for count in range(ROUNDS):
        marked = sorted({*processes.marked(places.top), *cgroups.members(places)})
        network = processes.in_network_of(marked)
        found = sorted({*marked, *network} - {os.getpid()})
        if not found and cgroups.remove(places):
            return count > 0
        _end(marked, network)
    raise Refused(
        what=f"cannot end every process of the lab {places.name}",
        why=f"still there: {', '.join(map(str, found)) or 'a process that comes into its cgroup again and again'}",
        todo="See what they wait for (`ps -o pid,stat,wchan,cmd`), and run `segue lab down` again.",
        kind=Kind.TIMEOUT,
    )


def remove_files(places: Places) -> None:
    """Remove the lab's folder, but nothing that somebody has mounted in it."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    found = [point for line in lines if (point := line.split()[4]).startswith(f"{places.top}/")]
    if found:
        raise Refused(
            what=f"cannot remove {places.top}",
            why=f"something is mounted at {', '.join(found)}",
            todo="Unmount it, and run `segue lab down` again.",
            kind=Kind.CONFLICT,
        )
    shutil.rmtree(places.top)


def remove_if_empty(folder: Path) -> None:
    """The folder of all labs goes with the last of them."""
    try:
        folder.rmdir()
    except OSError:
        return


def _end(first: Sequence[int], others: Sequence[int]) -> None:
    """Programs that only entered a machine follow it by themselves, or are ended too."""
    left = processes.end(first) or processes.wait_for_end(others, FOLLOW_LIMIT_S)
    processes.end(pid for pid in left if pid != os.getpid())
