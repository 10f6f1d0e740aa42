"""Processors: machine check exceptions, throttling by heat, and how many cores are online. Judges nothing."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Final

from segue.adapters.health.source import Look, Roots, Unseen, folders, number, text
from segue.model.health import Kind, Part, Sample

LINE_MOST: Final = 1 << 17
LINES_MOST: Final = 1 << 16


class Cpu:
    """Port `Probe`. Counts are for each package: its cores share what fails."""

    name = "cpu"
    every_s = 60.0
    heavy = False

    def __init__(self, roots: Roots) -> None:
        self._cpus = roots.sysfs / "devices" / "system" / "cpu"
        self._interrupts = roots.proc / "interrupts"

    def look(self) -> Sample:
        """What the kernel has counted since the boot."""
        look = Look(self.name)
        packages: dict[str, str] = {}
        throttled: dict[str, float] = defaultdict(float)
        for cpu in folders(self._cpus, "cpu[0-9]*"):
            package = packages[cpu.name] = _package(cpu)
            path = cpu / "thermal_throttle" / "core_throttle_count"
            try:
                if path.exists():
                    throttled[package] += number(path)
            except Unseen as unseen:
                look.miss(unseen)
        for package, count in throttled.items():
            look.see(Part(Kind.CPU, package), "throttled", count, self._cpus / "cpu*/thermal_throttle")
        for see in (self._online, self._checks):
            try:
                see(look, packages)
            except Unseen as unseen:
                look.miss(unseen)
        return look.sample()

    def _online(self, look: Look, packages: dict[str, str]) -> None:
        path = self._cpus / "online"
        look.see(Part(Kind.CPU, "all"), "cores_online", len(listed(text(path), path)), path)

    def _checks(self, look: Look, packages: dict[str, str]) -> None:
        """The row `MCE:` has one count for each CPU of the header."""
        header, row = _row(self._interrupts, "MCE:")
        if not row:
            return  # Not every architecture and not every virtual machine has one.
        counts: dict[str, float] = defaultdict(float)
        for name, count in zip(header, row[1 : len(header) + 1], strict=False):
            if not count.isdigit():
                raise Unseen(self._interrupts, f"{count!r} is not a count")
            counts[packages.get(name.lower(), "package 0")] += int(count)
        for package, total in counts.items():
            look.see(Part(Kind.CPU, package), "machine_checks", total, self._interrupts)


def _row(path: Path, wanted: str) -> tuple[list[str], list[str]]:
    """The header of /proc/interrupts and one of its rows; with 200 processors the file has some megabytes. Raises
    Unseen."""
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            header = file.readline(LINE_MOST).split()
            for line in islice(iter(lambda: file.readline(LINE_MOST), ""), LINES_MOST):
                if line.lstrip().startswith(wanted):
                    return header, line.split()
    except OSError as error:
        raise Unseen(path, str(error.strerror or error)) from error
    return header, []


def _package(cpu: Path) -> str:
    try:
        return f"package {number(cpu / 'topology' / 'physical_package_id'):.0f}"
    except Unseen:
        return "package 0"


def listed(ranges: str, path: Path) -> list[int]:
    """The numbers in the kernel's notation: `0-3,8`. Raises Unseen."""
    try:
        bounds = [[int(end) for end in part.split("-")] for part in ranges.split(",") if part]
        return [number for ends in bounds for number in range(ends[0], min(ends[-1], ends[0] + 65_536) + 1)]
    except ValueError as error:
        raise Unseen(path, f"{ranges[:40]!r} is not a list of CPUs") from error
