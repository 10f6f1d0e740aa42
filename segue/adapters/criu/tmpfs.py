"""Memory for CRIU's images: a tmpfs of its own, as /run is often too small and a disk too slow (and readable later)."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# linux/mount.h, sys/mount.h
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
MNT_DETACH = 2
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
SLACK_BYTES = 64 << 20
"""What is not memory: descriptions, queues of sockets, deleted files that are open."""


def mount(folder: Path, memory_bytes: int) -> None:
    """An empty tmpfs in which so much memory has room; it takes none before it is written."""
    size = memory_bytes + memory_bytes // 8 + SLACK_BYTES
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    _call("mount", b"segue-move", os.fsencode(folder), b"tmpfs", flags, f"mode=0700,size={size}".encode())


def unmount(folder: Path) -> None:
    """All in it is gone. A folder that is not there, or no mount, is not an error."""
    if os.path.ismount(folder):
        _call("umount2", os.fsencode(folder), MNT_DETACH)


def punch(file: int, offset: int, length: int) -> None:
    """A part of a file is zeros, and takes no memory any more. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    places = ctypes.c_int64(offset), ctypes.c_int64(length)
    if length and libc.fallocate64(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, *places) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"fallocate: {os.strerror(error)}")


def _call(name: str, *arguments: bytes | int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    if getattr(libc, name)(*words) != 0:
        error = ctypes.get_errno()
        if error != errno.EINVAL or name != "umount2":
            raise OSError(error, f"{name}: {os.strerror(error)}")
