"""What an application is in the midst of and CRIU does not take along: what inotify had to tell it and nobody has read,
and how far it is in a folder: its place there means something else where the names lie in another order.

Source: CRIU 4.2 saves the watches of an inotify descriptor and not its queue (criu/fsnotify.c). FIONREAD on such a
descriptor is the length of its queue in bytes (inotify(7)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import termios
from pathlib import Path
from typing import Final

from segue.adapters.net.tap import take_fd

KIND: Final = "anon_inode:inotify"
ENDS: Final = (0, (1 << 31) - 1, (1 << 63) - 1)
"""Places in a folder that mean the same everywhere: its beginning, and its end (fs/ext4/ext4.h, fs/libfs.c)."""


class Watches:
    """The inotify descriptors and folders that the processes of a cgroup have open now, as copies: to look at them
    takes no time."""

    def __init__(self, cgroup: Path) -> None:
        self._copies: list[int] = []
        self._folders: list[int] = []
        # Its own freezing is an event there, for whoever watches its cgroup; it cannot read that while it is frozen.
        self._own = cgroup.stat().st_dev if (cgroup / "cgroup.freeze").exists() else None
        for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It ended while we looked.
                for entry in Path(f"/proc/{pid}/fd").iterdir():
                    self._copy(pid, entry)

    def _copy(self, pid: int, entry: Path) -> None:
        with contextlib.suppress(OSError):  # Closed while we looked.
            if os.readlink(entry) == KIND:
                if self._own is not None and {*devices(pid, entry)} <= {self._own}:
                    return
                self._copies.append(take_fd(pid, int(entry.name)))
            elif entry.is_dir():
                folder = take_fd(pid, int(entry.name))
                # One that is a place and cannot be read has no place in it.
                if fcntl.fcntl(folder, fcntl.F_GETFL) & os.O_PATH:
                    os.close(folder)
                else:
                    self._folders.append(folder)

    def unread(self) -> bool:
        """Whether any of them has something to tell."""
        return any(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0] for fd in self._copies)

    def reading(self) -> bool:
        """Whether it has read a part of a folder."""
        return any(os.lseek(fd, 0, os.SEEK_CUR) not in ENDS for fd in self._folders)

    def close(self) -> None:
        """Gives the copies back: a watch lives as long as anybody has it open."""
        for copies in (self._copies, self._folders):
            while copies:
                os.close(copies.pop())


def devices(pid: int, entry: Path) -> list[int]:
    """The file system of each thing that an inotify descriptor watches. Raises OSError."""
    told = Path(f"/proc/{pid}/fdinfo/{entry.name}").read_text()
    numbers = (int(found, 16) for found in re.findall(r"^inotify .*\bsdev:([0-9a-f]+)", told, re.MULTILINE))
    return [os.makedev(number >> 20, number & 0xFFFFF) for number in numbers]
