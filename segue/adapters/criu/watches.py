"""What inotify had to tell an application, and nobody has read: CRIU does not take it along.

Source: CRIU 4.2 saves the watches of an inotify descriptor and not its queue (criu/fsnotify.c). FIONREAD on such a
descriptor is the length of its queue in bytes (inotify(7)).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios
from pathlib import Path
from typing import Final

from segue.adapters.net.tap import take_fd

KIND: Final = "anon_inode:inotify"


class Watches:
    """The inotify descriptors that the processes of a cgroup have now, as copies: to look at them takes no time."""

    def __init__(self, cgroup: Path) -> None:
        self._copies: list[int] = []
        for pid in map(int, (cgroup / "cgroup.procs").read_text().split()):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It ended while we looked.
                for entry in Path(f"/proc/{pid}/fd").iterdir():
                    self._copy(pid, entry)

    def _copy(self, pid: int, entry: Path) -> None:
        with contextlib.suppress(OSError):  # Closed while we looked.
            if os.readlink(entry) == KIND:
                self._copies.append(take_fd(pid, int(entry.name)))

    def unread(self) -> bool:
        """Whether any of them has something to tell."""
        return any(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0] for fd in self._copies)

    def close(self) -> None:
        """Gives the copies back: a watch lives as long as anybody has it open."""
        while self._copies:
            os.close(self._copies.pop())
