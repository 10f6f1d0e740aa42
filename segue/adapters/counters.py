"""Reads what the kernel counts of this host and of each guest's QEMU. It reads, and judges nothing.

A reading of one guest costs about 0.1 ms, so that a host with a hundred of them can be read every few seconds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from segue.model.load import Meter, Pressure

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
SECTOR_BYTES: Final = 512
"""Of /proc/diskstats, whatever the disk's own are (Documentation/admin-guide/iostats.rst)."""
SIOCGIFADDR: Final = 0x8915
Traffic = tuple[int, int]
"""(received, sent) bytes of a device."""


class Counters:
    """The files below /proc and /sys, which tests have elsewhere."""

    def __init__(self, proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> None:
        self._proc, self._sys = proc, sys
        self._vcpus: dict[int, tuple[str, ...]] = {}

    def traffic(self) -> dict[str, Traffic]:
        """All devices of this network namespace at once."""
        found: dict[str, Traffic] = {}
        for line in self._text("net/dev").splitlines()[2:]:
            name, _, figures = line.partition(":")
            columns = figures.split()
            found[name.strip()] = int(columns[0]), int(columns[8])
        return found

    def host(self, traffic: Mapping[str, Traffic], devices: Iterable[str]) -> Meter:
        """The host as a whole; devices: those that lead out of it."""
        words = self._text("stat").split("\n", 1)[0].split()
        # user (guests are in it), nice, system, irq, softirq, steal: all but idle and waiting for a disk.
        busy = sum(int(words[n]) for n in (1, 2, 3, 6, 7, 8))
        received, sent = _sum(traffic, devices)
        read, written = self._disks()
        return Meter(busy / TICKS_PER_S, 0.0, received, sent, read, written)

    def guest(self, pid: int, traffic: Mapping[str, Traffic], taps: Iterable[str]) -> Meter:
        """One QEMU with all its threads. Raises OSError for a process that is gone."""
        # The program's name may hold spaces and brackets: count from behind it.
        fields = self._text(f"{pid}/stat").rpartition(")")[2].split()
        cpu_s = (int(fields[11]) + int(fields[12])) / TICKS_PER_S
        sent, received = _sum(traffic, taps)  # What the tap receives, the guest has sent.
        read, written = self._storage(pid)
        return Meter(cpu_s, self._waited_s(pid), received, sent, read, written)

    def pressure(self) -> Pressure | None:
        """None where the kernel does not measure it."""
        try:
            return Pressure(*(self._some(what) for what in ("cpu", "memory", "io")))
        except OSError:
            return None

    def memory(self) -> tuple[int, int]:
        """(total, available) bytes."""
        lines = dict(line.split(":", 1) for line in self._text("meminfo").splitlines())
        total, available = (int(lines[key].split()[0]) << 10 for key in ("MemTotal", "MemAvailable"))
        return total, available

    def held_bytes(self, pid: int) -> int:
        """Guest memory that a QEMU really holds: its memfd pages."""
        for line in self._text(f"{pid}/status").splitlines():
            if line.startswith("RssShmem:"):
                return int(line.split()[1]) << 10
        return 0

    def group(self, cgroup: Path, traffic: Mapping[str, Traffic], taps: Iterable[str]) -> Meter:
        """All processes of a version 2 cgroup, also those that have ended. Raises OSError for one that is gone."""
        used = _pairs((cgroup / "cpu.stat").read_text())["usage_usec"]
        sent, received = _sum(traffic, taps)
        read, written = self._group_storage(cgroup)
        return Meter(used / 1e6, _group_waited_s(cgroup), received, sent, read, written)

    def group_held_bytes(self, cgroup: Path) -> int:
        """Memory of its processes that is no copy of a file. Raises OSError."""
        with contextlib.suppress(FileNotFoundError):
            found = _pairs((cgroup / "memory.stat").read_text())
            return found["anon"] + found["shmem"]
        total = 0  # No memory controller: what several processes share counts several times.
        for pid in (cgroup / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                for line in self._text(f"{pid}/status").splitlines():
                    if line.startswith(("RssAnon:", "RssShmem:")):
                        total += int(line.split()[1]) << 10
        return total

    def _group_storage(self, cgroup: Path) -> tuple[int, int]:
        read = written = 0
        with contextlib.suppress(FileNotFoundError):
            for line in (cgroup / "io.stat").read_text().splitlines():
                found = dict(word.split("=") for word in line.split()[1:])
                read += int(found.get("rbytes", 0))
                written += int(found.get("wbytes", 0))
            return read, written
        for pid in (cgroup / "cgroup.procs").read_text().split():  # No io controller.
            with contextlib.suppress(OSError):
                more_read, more_written = self._storage(int(pid))
                read, written = read + more_read, written + more_written
        return read, written

    def forget(self, pids: Iterable[int]) -> None:
        """Only these processes are still there."""
        alive = set(pids)
        self._vcpus = {pid: threads for pid, threads in self._vcpus.items() if pid in alive}

    def uplinks(self, device: str) -> tuple[str, ...]:
        """The device itself, or what leads out of a bridge: its ports that are neither a guest's nor a tunnel."""
        ports = self._sys / "class/net" / device / "brif"
        if not ports.is_dir():
            return (device,)
        return tuple(sorted(port.name for port in ports.iterdir() if self._leads_out(port.name)))

    def speed_bytes_per_s(self, devices: Iterable[str]) -> int:
        """As the cards say it, all together; 0 where none does."""
        total = 0
        for device in devices:
            with contextlib.suppress(OSError, ValueError):
                mbit = int((self._sys / "class/net" / device / "speed").read_text())
                total += max(0, mbit) * 125_000
        return total

    def _leads_out(self, device: str) -> bool:
        folder = self._sys / "class/net" / device
        try:
            return not (folder / "tun_flags").exists() and "vxlan" not in (folder / "uevent").read_text()
        except OSError:
            return False  # It went just now: no cable does.

    def _text(self, path: str) -> str:
        with (self._proc / path).open("rb", buffering=0) as file:
            return file.read().decode(errors="replace")

    def _some(self, what: str) -> float:
        line = self._text(f"pressure/{what}").split("\n", 1)[0]
        found = dict(word.split("=") for word in line.split()[1:])
        return float(found["avg60"]) / 100

    def _disks(self) -> tuple[int, int]:
        """Real disks alone: what lies on top of them would be counted twice."""
        read = written = 0
        for line in self._text("diskstats").splitlines():
            words = line.split()
            if (self._sys / "block" / words[2].replace("/", "!") / "device").exists():
                read += int(words[5]) * SECTOR_BYTES
                written += int(words[9]) * SECTOR_BYTES
        return read, written

    def _storage(self, pid: int) -> tuple[int, int]:
        lines = dict(line.split(": ") for line in self._text(f"{pid}/io").splitlines())
        return int(lines["read_bytes"]), int(lines["write_bytes"])

    def _waited_s(self, pid: int) -> float:
        """The run queue delay of its vCPU threads (Documentation/scheduler/sched-stats.rst)."""
        if pid not in self._vcpus:
            self._vcpus[pid] = self._find_vcpus(pid)
        waited_ns = 0
        for thread in self._vcpus[pid]:
            with contextlib.suppress(OSError, IndexError):  # An unplugged vCPU, or a kernel without it.
                waited_ns += int(self._text(f"{pid}/task/{thread}/schedstat").split()[1])
        return waited_ns / 1e9

    def _find_vcpus(self, pid: int) -> tuple[str, ...]:
        """QEMU names them `CPU 0/KVM`, `CPU 0/TCG`, or `ALL CPUs/TCG` (-name debug-threads=on)."""
        found = []
        for folder in (self._proc / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                name = (folder / "comm").read_text()
                if name.startswith(("CPU ", "ALL CPUs")):
                    found.append(folder.name)
        return tuple(found)


def device_of(address: str) -> str:
    """The network device that has this IPv4 address; empty where none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(answer[20:24]) == address:
                    return name
    return ""


def _sum(traffic: Mapping[str, Traffic], devices: Iterable[str]) -> Traffic:
    known = [traffic[device] for device in devices if device in traffic]
    return sum(received for received, _ in known), sum(sent for _, sent in known)


def _pairs(text: str) -> dict[str, int]:
    """Lines of a word and a number."""
    return {name: int(value) for name, value in (line.split() for line in text.splitlines())}


def _group_waited_s(cgroup: Path) -> float:
    """While at least one of it waited for a processor; 0 where the kernel does not measure it."""
    try:
        words = (cgroup / "cpu.pressure").read_text().split("\n", 1)[0].split()
    except OSError:
        return 0.0
    return int(dict(word.split("=") for word in words[1:])["total"]) / 1e6
