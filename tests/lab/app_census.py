"""Knows whether two copies of the witness ever ran: it reads their ticks in a file of all hosts, and asks no agent.

A copy goes on counting where it was when it was made. So a number that is there twice was written by two copies.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.lab.api import Lab
from tests.lab import witness

GROUP: Final = "sys/fs/cgroup/segue-apps"


@dataclass(frozen=True)
class Copy:
    """One process of a copy."""

    pid: int
    host: str


class AppCensus:
    """All that one application writes, and where its processes are."""

    def __init__(self, lab: Lab, hosts: tuple[str, ...], name: str, ticks: Path) -> None:
        self._lab = lab
        self._hosts = hosts
        self._name = name
        self._ticks = ticks
        self._from_bytes = 0

    def stop(self) -> None:
        """Nothing of it goes on by itself."""

    def begin(self) -> None:
        """A new case: what was seen before is judged already."""
        self._from_bytes = self._ticks.stat().st_size if self._ticks.exists() else 0

    def overlaps(self) -> list[str]:
        """Every life of which a tick is there twice, or one is missing."""
        lives: dict[int, list[int]] = {}
        with self._ticks.open("rb") as file:
            file.seek(self._from_bytes)
            data = file.read()
        whole = len(data) // witness.TICK.size * witness.TICK.size
        for life, count, _ in witness.TICK.iter_unpack(data[:whole]):
            lives.setdefault(life, []).append(count)
        return [said for counts in lives.values() for said in _judged(counts)]

    def last_tick_ns(self) -> int:
        """When it ran last, by the machine's clock."""
        data = self._ticks.read_bytes()
        return int(witness.TICK.unpack(data[-witness.TICK.size :])[2])

    def alive(self) -> list[Copy]:
        """All processes of all copies, running or not."""
        return [copy for host in self._hosts for copy in self.on(host)]

    def on(self, host: str) -> list[Copy]:
        """Those of one host."""
        return [Copy(pid, host) for pid in self._pids(host)]

    def frozen(self, host: str) -> bool:
        """Whether what is there stands."""
        events = self.group(host) / "cgroup.events"
        return events.exists() and "frozen 1" in events.read_text()

    def group(self, host: str) -> Path:
        """Its cgroup there, as this machine sees it."""
        return Path(f"/proc/{self._lab.host_pids(host)[0]}/root") / GROUP / self._name

    def _pids(self, host: str) -> list[int]:
        try:
            return [int(word) for word in (self.group(host) / "cgroup.procs").read_text().split()]
        except (OSError, IndexError):
            return []


def _judged(counts: list[int]) -> list[str]:
    twice = [count for count, times in Counter(counts).items() if times > 1]
    said = [f"tick {twice[0]} and {len(twice) - 1} others are there twice"] if twice else []
    missing = set(range(min(counts), max(counts) + 1)) - set(counts)
    return said + ([f"{len(missing)} ticks are missing"] if missing else [])
