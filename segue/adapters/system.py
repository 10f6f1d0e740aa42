"""What the kernel says of this host."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from pathlib import Path


def boot_id() -> str:
    """Changes with every boot; a host out of namespaces has a PID 1 of its own instead."""
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    started = Path("/proc/1/stat").read_text().rsplit(")", 1)[1].split()[19]
    return f"{kernel}-{started}"


def memory_bytes() -> tuple[int, int]:
    """(total, available) memory of the host."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return tuple(int(fields[key].split()[0]) << 10 for key in ("MemTotal", "MemAvailable"))  # type: ignore[return-value]


def resident_memory_bytes(pid: int) -> int:
    """Guest memory that a QEMU process really holds: its memfd pages (RssShmem)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("RssShmem:"):
            return int(line.split()[1]) << 10
    return 0


def process_memory_bytes(pid: int) -> int:
    """What a process holds that is in no file (RssAnon, RssShmem); 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    found = (line.split() for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
    return sum(int(words[1]) << 10 for words in found)


def cpus() -> int:
    """Processors that this host may use."""
    return len(os.sched_getaffinity(0))


def bridges() -> tuple[str, ...]:
    """Names of the host's bridges."""
    return tuple(sorted(path.parent.name for path in Path("/sys/class/net").glob("*/bridge")))


def vlan_bridges() -> tuple[str, ...]:
    """Names of the bridges that filter VLANs; a kernel without bridge VLANs has no such file at all."""
    switches = Path("/sys/class/net").glob("*/bridge/vlan_filtering")
    return tuple(sorted(path.parts[-3] for path in switches if path.read_text().strip() == "1"))


def kernel() -> str:
    """The kernel's release."""
    return os.uname().release


def free_bytes(folder: Path) -> int:
    """Room left on the storage of `folder`."""
    return shutil.disk_usage(folder).free


def readable(path: str) -> bool:
    """True for a file that this host sees."""
    return Path(path).is_file()


def storage_mark(path: str) -> str:
    """A mark of the file behind a path that two hosts can compare; empty where it is not seen.

    Inode number and size are the same on every host that mounts one file system (NFS, OCFS2, a bind mount);
    the first 64 KiB tell apart what agrees by chance.
    """
    try:
        info = Path(path).stat()
        with Path(path).open("rb") as file:
            head = hashlib.sha256(file.read(1 << 16)).hexdigest()[:16]
    except OSError:
        return ""
    return f"{info.st_ino}:{info.st_size}:{head}"


def birth(pid: int) -> str:
    """When the process began, in the kernel's ticks; a number that is used again has another. Empty for none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_locked(path: Path) -> bool:
    """True while some process holds the lock on this file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
