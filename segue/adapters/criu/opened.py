"""Looks at what one process has open and mapped, and at the file systems that it sees. It judges nothing."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from segue.adapters.criu import watches
from segue.model.belongings import Held, Holding

PROTOCOL: Final = "system.sockprotoname"
IN_MEMORY: Final = ("/dev/shm/", "/dev/zero")
"""Paths below /dev that are no devices, or hold nothing."""
WITHOUT_A_NAME: Final = ("/memfd:", "/SYSV", "/dev/zero", "/anon_hugepage", "/secretmem")
"""What the kernel shows as the path of what never had one."""
EPOLL: Final = "anon_inode:[eventpoll]"
EVENTS: Final = "anon_inode:[eventfd]"
GONE: Final = " (deleted)"
KCMP: Final = {"x86_64": 312, "aarch64": 272}
KCMP_FILE: Final = 0
_libc = ctypes.CDLL(None, use_errno=True)
BLOCK_BYTES: Final = 512
"""Of st_blocks."""


@dataclass(frozen=True)
class Mount:
    """One file system that the process sees."""

    number: str
    device: str
    place: str
    kind: str


def of(pid: int, older: Sequence[int] = ()) -> Iterator[Held]:
    """older: the application's processes that began before this one.

    Raises FileNotFoundError, ProcessLookupError for one that ends meanwhile."""
    top = Path(f"/proc/{pid}")
    try:
        mounts = _mounts(top)
    except OSError as error:
        if isinstance(error, FileNotFoundError | ProcessLookupError):
            raise
        yield Held(Holding.LEADERLESS, "", pid)  # The kernel shows no more of it.
        return
    for mount in mounts:
        yield Held(Holding.MOUNT, mount.kind, pid, mount.place)
    for entry in (top / "fd").iterdir():
        try:
            yield from _descriptor(pid, entry, mounts, older)
        except FileNotFoundError:
            continue  # Closed while we looked.
    for area, path in _mapped(top):
        if path.startswith("/dev/") and not path.startswith(IN_MEMORY):
            yield Held(Holding.DEVICE, path, pid)
        elif path.endswith(GONE) and not path.startswith(WITHOUT_A_NAME):
            try:
                about = (top / "map_files" / area).stat()
            except OSError:
                continue  # Unmapped meanwhile, or we may not look.
            yield from _nameless(pid, path, about)


def _mapped(top: Path) -> Iterator[tuple[str, str]]:
    """Each part of its memory that has a path: where, and the path."""
    for line in (top / "maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6:
            first, _, last = words[0].partition("-")
            yield f"{int(first, 16):x}-{int(last, 16):x}", words[5]


def _descriptor(pid: int, entry: Path, mounts: tuple[Mount, ...], older: Sequence[int]) -> Iterator[Held]:
    link = os.readlink(entry)
    if link.startswith("socket:"):
        yield Held(Holding.SOCKET, os.getxattr(entry, PROTOCOL).rstrip(b"\0").decode(), pid)
    elif link.startswith("/"):
        yield from _path(pid, entry, link, mounts)
    elif link == watches.KIND:
        yield from _watches(pid, entry, mounts)
    elif link == EPOLL:
        yield from _polled(pid, entry, older)
    elif link == EVENTS and _about(entry).get("eventfd-semaphore") == "1":
        yield Held(Holding.FILE, f"{link} semaphore", pid)
    elif link.startswith("pipe:") and int(_about(entry)["flags"], 8) & os.O_DIRECT:
        yield Held(Holding.PACKETS, link, pid)
    else:
        yield Held(Holding.FILE, link, pid)


def _path(pid: int, entry: Path, link: str, mounts: tuple[Mount, ...]) -> Iterator[Held]:
    about = entry.stat()
    if stat.S_ISCHR(about.st_mode):
        yield Held(Holding.DEVICE, link, pid)
    elif link.startswith(WITHOUT_A_NAME):
        yield Held(Holding.FILE, link, pid)
    elif _about(entry).get("mnt_id") not in {mount.number for mount in mounts}:
        yield Held(Holding.ELSEWHERE, link, pid)
    else:
        yield Held(Holding.FILE, link, pid)
        yield from _nameless(pid, link, about)


def _nameless(pid: int, link: str, about: os.stat_result) -> Iterator[Held]:
    if not link.endswith(GONE) or not stat.S_ISREG(about.st_mode):
        return
    name = link.removesuffix(GONE)
    if about.st_nlink == 0:
        yield Held(Holding.DELETED, name, pid, bytes=about.st_blocks * BLOCK_BYTES)
    elif not os.path.lexists(f"/proc/{pid}/root{link}"):  # Else that is its very name.
        yield Held(Holding.UNNAMED, name, pid)


def _about(entry: Path) -> dict[str, str]:
    """What the kernel says of a descriptor: its first words, one in a line."""
    text = entry.parent.parent.joinpath("fdinfo", entry.name).read_text()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}


def _watches(pid: int, entry: Path, mounts: tuple[Mount, ...]) -> Iterator[Held]:
    kinds = {mount.device: mount.kind for mount in mounts}
    for device in watches.devices(pid, entry):
        yield Held(Holding.WATCH, kinds.get(f"{os.major(device)}:{os.minor(device)}", "unknown"), pid)


def _polled(pid: int, entry: Path, older: Sequence[int]) -> Iterator[Held]:
    """What is closed here stays in an epoll for as long as anybody has it open, under whatever number. What was closed
    while we looked is in none any more. An epoll that was inherited is what it is for the one that made it: so CRIU
    looks at it (criu/eventpoll.c), and a child may have closed what it does not need (Redis, while it saves)."""
    if (missing := _missing(entry, _waits(pid, entry))) and not _is_inherited(pid, entry, older):
        for number, _ in sorted(_missing(entry, missing & _waits(pid, entry))):
            yield Held(Holding.POLL, number, pid)


def _is_inherited(pid: int, entry: Path, older: Sequence[int]) -> bool:
    for other in older:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for theirs in Path(f"/proc/{other}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(theirs) == EPOLL and _are_one((other, theirs), (pid, entry)):
                        return True
    return False


def _are_one(one: tuple[int, Path], other: tuple[int, Path]) -> bool:
    """Whether two processes have one and the same file open (kcmp(2))."""
    numbers = (one[0], other[0], KCMP_FILE, int(one[1].name), int(other[1].name))
    return bool(_libc.syscall(KCMP.get(os.uname().machine, -1), *map(ctypes.c_ulong, numbers)) == 0)


def _waits(pid: int, entry: Path) -> set[tuple[str, int]]:
    """(descriptor, inode) of each for which this epoll waits."""
    text = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
    return {
        (tfd, int(inode, 16))
        for tfd, inode in re.findall(r"^tfd:\s*(\d+) .*\bino:([0-9a-f]+)", text, re.MULTILINE)
    }


def _missing(entry: Path, waits: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Those that are something else here by now, or closed."""
    return {(number, inode) for number, inode in waits if _inode(entry.with_name(number)) != inode}


def _inode(entry: Path) -> int:
    """-1 for a descriptor that is closed."""
    try:
        return entry.stat().st_ino
    except FileNotFoundError:
        return -1


def _mounts(top: Path) -> tuple[Mount, ...]:
    found = []
    for line in (top / "mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        found.append(Mount(words[0], words[2], words[4], right.split()[0]))
    return tuple(found)
