"""Where the memory can be read that CRIU dumps, once its processes stand, and where CRIU is made to write none of it.

A pagemap is named after its process, or after the inode of memory that is shared (criu/shmem.c).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from segue.adapters.criu import memory
from segue.adapters.criu.pagemap import PAGES, SHARED

MEMFD: Final = "/memfd:"
SPARE: Final = 64
CLONE_NEWIPC: Final = 0x08000000
_libc = ctypes.CDLL(None, use_errno=True)


class Sources:
    """Of one application."""

    def __init__(self, cgroup: Path) -> None:
        self._processes = memory.processes(cgroup)
        self._mapped = mapped(self._processes.values())

    @contextmanager
    def opened(self, name: str) -> Iterator[int]:
        """As a file, by address or place in it. Raises OSError, ValueError."""
        if name.startswith(SHARED):
            place = self._mapped.get(int(name.removeprefix(SHARED)))
        else:
            pid = self._processes.get(int(name))
            place = Path(f"/proc/{pid}/mem") if pid is not None else None
        if place is None:
            raise ValueError(f"nobody has the memory {name} any more")
        handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield handle
        finally:
            os.close(handle)


def mapped(pids: Iterable[int]) -> dict[int, Path]:
    """By its inode, where shared memory can be opened."""
    found: dict[int, Path] = {}
    for pid in pids:
        for span in memory.spans_of(pid):
            if span.is_shared:
                found[span.inode] = Path(f"/proc/{pid}/map_files/{span.first:x}-{span.end:x}")
    return found


def sink(cgroup: Path, folder: Path) -> bool:
    """Has CRIU write no page of these processes, where all of them can be read elsewhere; whether it is so. The names
    of its files are known, and lead nowhere. Raises OSError."""
    processes = memory.processes(cgroup)
    shared = mapped(processes.values())
    if not all(inode in shared for inode in (*_nameless(processes.values()), *_segments(processes))):
        return False
    for number in range(1, 2 * (len(processes) + len(shared)) + SPARE):
        (folder / f"{PAGES}{number}.img").symlink_to(os.devnull)
    return True


def clear(folder: Path) -> None:
    """What `sink` has made is gone."""
    for path in folder.glob(f"{PAGES}*.img"):
        if path.is_symlink():
            path.unlink()


def _nameless(pids: Iterable[int]) -> Iterator[int]:
    """The inodes of files that are only memory (memfd_create(2)), and may be mapped by nobody."""
    for pid in pids:
        with suppress(*memory.GONE):
            for entry in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(*memory.GONE):
                    if os.readlink(entry).startswith(MEMFD):
                        yield entry.stat().st_ino


def _segments(processes: Mapping[int, int]) -> list[int]:
    """The numbers of System V segments in their name space, which the kernel gives as inodes, too."""
    pid = processes[min(processes)] if processes else os.getpid()
    with open(f"/proc/{pid}/ns/ipc", "rb") as space, ThreadPoolExecutor(1) as pool:
        return pool.submit(_listed, space.fileno()).result()


def _listed(space: int) -> list[int]:
    """In a thread of its own, which ends in that name space."""
    if _libc.setns(space, CLONE_NEWIPC) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    lines = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    return [int(line.split()[1]) for line in lines]
