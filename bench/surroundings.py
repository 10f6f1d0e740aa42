"""The machine and the versions of a session, and what shows that the peers were treated alike."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Final

from bench import virt
from bench.world import HOSTS, World
from segue import __version__
from segue.lab import processes

SURROUNDINGS: Final[tuple[str, ...]] = ("machine", "versions", "nice")


def surroundings(world: World) -> dict[str, Any]:
    """Measured once in each lab."""
    facts = world.our_guest.agent(HOSTS[0]).call("GET", "/host")
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "processor": _processor(),
            "kernel": platform.release(),
            "accelerator": facts["accelerator"],
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
        "versions": {
            "segue": __version__,
            "qemu": facts["qemu_version"],
            "libvirt": virt.version(world.lab, HOSTS[0]),
            "python": platform.python_version(),
        },
        "nice": {name: _nice(world, peer.host, peer.guest_name) for name, peer in world.peers.items()},
    }


def _nice(world: World, host: str, guest: str) -> int | None:
    """The nice level of the guest's QEMU."""
    for pid in processes.inside(world.lab.host_pids(host)[0]):
        if f"guest={guest},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return os.getpriority(os.PRIO_PROCESS, pid)
    return None


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )
