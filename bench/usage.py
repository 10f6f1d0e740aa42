"""What a move costs the hosts: processor time and bytes on the wire, read from the kernel's own counts."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.lab import processes
from segue.lab.api import Lab

UPLINK: Final = "uplink0"
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """Counts since some time in the past: only differences mean anything.

    cpu_s: of every process of the hosts and of their ended children, but for the QEMUs of the other guests.
    wire_bytes: sent by both hosts to the fabric, the probes' packets with them (about 0.2 MB/s).
    """

    cpu_s: float
    wire_bytes: int

    def since(self, earlier: Usage) -> Usage:
        """The difference."""
        return Usage(self.cpu_s - earlier.cpu_s, self.wire_bytes - earlier.wire_bytes)


def read(lab: Lab, hosts: Iterable[str], not_guests: Collection[str]) -> Usage:
    """The counts now. `not_guests`: the guests whose QEMUs do not count."""
    cpu_s, wire_bytes = 0.0, 0
    for host in hosts:
        first = lab.host_pids(host)[0]
        cpu_s += sum(_cpu_s(pid) for pid in processes.inside(first) if not _is_of(pid, not_guests))
        wire_bytes += sent_bytes(Path(f"/proc/{first}/net/dev").read_text())
    return Usage(cpu_s, wire_bytes)


def sent_bytes(table: str) -> int:
    """proc(5), /proc/net/dev: after the name come eight counts of what was received, then bytes sent."""
    for line in table.splitlines():
        name, _, counts = line.partition(":")
        if name.strip() == UPLINK:
            return int(counts.split()[8])
    raise RuntimeError(f"a host has no {UPLINK}")


def ticks(stat: str) -> int:
    """proc(5), /proc/PID/stat: utime, stime and those of the children that were waited for."""
    return sum(int(field) for field in stat.rpartition(")")[2].split()[11:15])


def _cpu_s(pid: int) -> float:
    try:
        return ticks(Path(f"/proc/{pid}/stat").read_text()) / TICKS_PER_S
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _is_of(pid: int, guests: Collection[str]) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(f"guest={name}," in words for name in guests)
