"""Looks at what an application's processes hold, and at what this host's CRIU and kernel can do. It judges nothing."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import mmap
import os
import re
import shutil
from pathlib import Path

from segue.adapters import system
from segue.adapters.criu import opened, surroundings, userfault
from segue.model.belongings import Engine, Held, Holding

SYS_RESOURCE = 24
"""linux/capability.h"""
CHECK_S = 20.0
LIBRARY = "libcriu.so.2"
SOFT_DIRTY = 1 << 55
"""Bit of an entry in /proc/PID/pagemap."""


def belongings(cgroup: Path) -> tuple[Held, ...]:
    """Everything that the processes of the cgroup hold, and that somebody may have to judge."""
    found: set[Held] = set()
    pids = sorted(map(int, (cgroup / "cgroup.procs").read_text().split()), key=_age)
    for number, pid in enumerate(pids):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It ended while we looked.
            found.update(opened.of(pid, pids[:number]))
            if (tracer := _field(Path(f"/proc/{pid}/status"), "TracerPid")) not in {"0", ""}:
                found.add(Held(Holding.TRACER, tracer, pid))
    found.update(surroundings.of(cgroup))
    return tuple(sorted(found))


def _age(pid: int) -> tuple[int, int]:
    """The oldest process first: CRIU asks a parent before its children."""
    return int(system.birth(pid) or 0), pid


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""


async def engine() -> Engine:
    """What this host can do; takes about a tenth of a second."""
    kernel, flags = os.uname().release, cpu_flags()
    version, fault = await _criu()
    return Engine(
        criu="" if fault else version,
        fault=fault,
        kernel=kernel,
        cpu_flags=flags,
        soft_dirty=soft_dirty(),
        on_demand=userfault.works(),
        by_place=True,
    )


async def _criu() -> tuple[str, str]:
    """(version, why it cannot work)."""
    if missing := [name for name in ("criu", "crun", "setpriv") if shutil.which(name) is None]:
        return "", f"it has no {', '.join(missing)}"
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return "", f"it has no {LIBRARY} (package libcriu2), which crun needs to move containers"
    said, _ = await _run("criu", "--version")
    version = _version(said)
    checked, code = await _run("criu", "check")
    if code != 0:
        lines = [line for line in checked.splitlines() if "Error" in line]
        return version, f"criu check: {(lines or ['it failed'])[0]}"
    return version, sockets_fault(version, os.uname().release)


def sockets_fault(version: str, kernel: str) -> str:
    """A CRIU before 4.2 cannot dump any socket of a kernel from 6.16 on (it asks for SO_PASSCRED and is refused)."""
    if _numbers(kernel) >= (6, 16) and _numbers(version) < (4, 2):
        return f"CRIU {version} cannot dump sockets of kernel {kernel}; 4.2 or newer can"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _version(said: str) -> str:
    found = re.search(r"Version: (\S+)", said)
    return found[1] if found else "of an unknown version"


async def _run(*argv: str) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(CHECK_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"Error: no answer within {CHECK_S:.0f} s", 1
    return said.decode(errors="replace"), process.returncode or 0


def reads_as(cgroup: Path) -> tuple[int, int] | None:
    """The real user and group with which CRIU may read the limits of all processes there; None where none is enough.

    Without CAP_SYS_RESOURCE the kernel goes by them alone (kernel/sys.c, check_prlimit_permission).
    """
    own = (os.getuid(), os.getgid())
    if int(_field(Path("/proc/self/status"), "CapEff") or "0", 16) >> SYS_RESOURCE & 1:
        return own
    users: set[str] = set()
    groups: set[str] = set()
    for pid in (cgroup / "cgroup.procs").read_text().split():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            users.update(_field(Path(f"/proc/{pid}/status"), "Uid").split())
            groups.update(_field(Path(f"/proc/{pid}/status"), "Gid").split())
    if len(users) > 1 or len(groups) > 1:
        return None
    return (int(users.pop()), int(groups.pop())) if users and groups else own


def soft_dirty() -> bool:
    """Whether this kernel marks pages that were written: a fresh one of our own would be."""
    with mmap.mmap(-1, mmap.PAGESIZE) as page, open("/proc/self/pagemap", "rb", buffering=0) as map_file:
        page[0] = 1
        view = ctypes.c_char.from_buffer(page)
        address = ctypes.addressof(view)
        del view  # Else the page could not be given back.
        entry = os.pread(map_file.fileno(), 8, address // mmap.PAGESIZE * 8)
    return bool(int.from_bytes(entry, "little") & SOFT_DIRTY)


def cpu_flags() -> frozenset[str]:
    """What this host's processor can do, by the kernel's names."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()
