"""What all probes share: where they look, and how a damaged source becomes a finding and never an exception."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Final

from segue.model.health import Blind, Part, Reading, Sample

READ_MOST: Final = 1 << 20
"""Of one file; none of the kernel's is larger, and a root that points elsewhere must not fill the memory."""


@dataclass(frozen=True)
class Roots:
    """Where the sources are. A lab points them at files of its own; the code is the same."""

    sysfs: Path = Path("/sys")
    proc: Path = Path("/proc")
    dev: Path = Path("/dev")
    kmsg: Path = Path("/dev/kmsg")
    rasdaemon: Path = Path("/var/lib/rasdaemon/ras-mc_event.db")
    smartctl: str = "smartctl"
    chronyc: str = "chronyc"


class Unseen(Exception):
    """A source that cannot be read or understood; caught where the look is put together."""

    def __init__(self, what: object, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = str(what)
        self.why = why


def text(path: Path) -> str:
    """The file's text, without the white space around it. Raises Unseen."""
    try:
        with path.open("rb") as file:
            return file.read(READ_MOST).decode(errors="replace").strip()
    except OSError as error:
        raise Unseen(path, str(error.strerror or error)) from error


def number(path: Path) -> float:
    """A file with one whole number, also in hexadecimal. Raises Unseen."""
    found = text(path)
    try:
        return float(int(found, 0))
    except ValueError as error:
        raise Unseen(path, f"{found[:40]!r} is not a number") from error


def folders(path: Path, pattern: str = "*") -> list[Path]:
    """What is below a folder of sysfs, in order; nothing where it is not there."""
    try:
        return sorted(path.glob(pattern))
    except OSError:
        return []


def program(command: Sequence[str], within_s: float) -> str:
    """What a program says, whatever its exit code. Raises Unseen."""
    try:
        done = subprocess.run(
            ["nice", "-n", "19", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=within_s,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = (
            f"no answer within {within_s:g} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        )
        raise Unseen(command[0], why) from error
    if done.returncode == 127 or (done.returncode == 125 and not done.stdout):
        raise Unseen(command[0], "it is not installed")
    return done.stdout[:READ_MOST].decode(errors="replace")


class Look:
    """One look of one probe: gathers readings, and what could not be seen."""

    def __init__(self, probe: str) -> None:
        self.probe = probe
        self.readings: list[Reading] = []
        self.blind: list[Blind] = []

    def see(self, part: Part, signal: str, value: float, source: object, thing: str = "") -> None:
        """One figure; one that is none (not a number, infinite) is not seen. thing: see `Reading`."""
        if not isfinite(value):
            self.miss(Unseen(source, f"{signal} is {value}"))
            return
        self.readings.append(Reading(part, signal, value, str(source), thing))

    def file(self, part: Part, signal: str, path: Path) -> None:
        """One figure that is a file of its own; one that is not there is not missed."""
        if path.exists():
            try:
                self.see(part, signal, number(path), path)
            except Unseen as unseen:
                self.miss(unseen)

    def miss(self, unseen: Unseen) -> None:
        """One thing that could not be seen."""
        self.blind.append(Blind(self.probe, unseen.what, unseen.why))

    def sample(self) -> Sample:
        """All of it."""
        return Sample(self.probe, tuple(self.readings), tuple(self.blind))


class Totals:
    """Counts events of parts that are known only once they have one.

    A counter's first value says nothing about when it rose. So one that appears later is told as 0 first, and as
    what it is at the next look.
    """

    def __init__(self) -> None:
        self.counts: dict[tuple[Part, str], float] = {}
        self._told: set[tuple[Part, str]] = set()
        self._looked = False

    def add(self, part: Part, signal: str, by: float = 1.0) -> None:
        """Counts."""
        self.counts[part, signal] = self.counts.get((part, signal), 0.0) + by

    def tell(self, look: Look, source: object) -> None:
        """Adds all counters to the look."""
        for (part, signal), count in self.counts.items():
            new = self._looked and (part, signal) not in self._told
            look.see(part, signal, 0.0 if new else count, source)
            self._told.add((part, signal))
        self._looked = True


PARTITION: Final = re.compile(r"^(?:(nvme\d+n\d+|mmcblk\d+|nbd\d+)p\d+|((?:sd|vd|xvd|hd)[a-z]+)\d+)$")


NVME_PATH: Final = re.compile(r"^(nvme\d+)c\d+(n\d+)")


def whole_disk(name: str) -> str:
    """The disk that a partition is on, and the one that a path of NVMe's own multipathing leads to (nvme0c1n1)."""
    name = NVME_PATH.sub(r"\1\2", name)
    found = PARTITION.match(name)
    return (found[1] or found[2]) if found else name


def disks(roots: Roots) -> list[str]:
    """Names of the real disks: those with a device behind them that is not plugged in and out by hand."""
    found = folders(roots.sysfs / "block")
    return [folder.name for folder in found if (folder / "device").exists() and not _portable(folder)]


def _portable(disk: Path) -> bool:
    """On USB, or with a medium that can be taken out."""
    try:
        removable = text(disk / "removable") == "1"
    except Unseen:
        removable = False
    return removable or "/usb" in str((disk / "device").resolve())
