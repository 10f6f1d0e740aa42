"""All processes of one cgroup (version 2), by handles that are open already: ends them, and says when none is left.

It must never wait, and never end what is not in that cgroup: its handles mean that one alone, also when another of the
same name takes its place. Only the standard library may be imported here: the guard keeps all of it in memory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from typing import Final

EVENTS_BYTES: Final = 256
LIST_BYTES: Final = 1 << 20


class Tree:
    """One cgroup, and what was made below it."""

    def __init__(self, folder: int, *, at_once: bool = True) -> None:
        """folder: an open handle of the cgroup's folder; whoever opened it closes it, later than this. Raises OSError.

        at_once: by `cgroup.kill`, where the kernel has that (5.14); else it is frozen, and each process is killed.
        """
        self._folder = folder
        self._events = self._open("cgroup.events", os.O_RDONLY)
        self._end = -1
        if at_once:
            try:
                self._end = self._open("cgroup.kill", os.O_WRONLY)
            except FileNotFoundError:
                pass  # An older kernel.
            except OSError:
                os.close(self._events)
                raise

    def _open(self, name: str, way: int) -> int:
        return os.open(name, way | os.O_CLOEXEC, dir_fd=self._folder)

    def populated(self) -> bool:
        """False only where it is known that nothing of it can run any more."""
        try:
            return b"populated 0" not in os.pread(self._events, EVENTS_BYTES, 0)
        except OSError as error:
            return error.errno != errno.ENODEV  # The cgroup is gone, and was empty for that.

    def kill(self) -> None:
        """SIGKILL for all, frozen or just being born. What could not be done is seen by who looks again."""
        with contextlib.suppress(OSError):
            if self._end >= 0:
                os.pwrite(self._end, b"1", 0)
            else:
                self._kill_each()

    def _kill_each(self) -> None:
        """What is frozen makes no others; a signal to end reaches it nevertheless."""
        freeze = self._open("cgroup.freeze", os.O_WRONLY)
        try:
            os.pwrite(freeze, b"1", 0)
        finally:
            os.close(freeze)
        for pid in self._pids():
            with contextlib.suppress(OSError):
                handle = os.pidfd_open(pid)
                try:
                    if pid in self._pids():  # The number was not given to another one in between.
                        signal.pidfd_send_signal(handle, signal.SIGKILL)
                finally:
                    os.close(handle)

    def _pids(self) -> set[int]:
        listed = self._open("cgroup.procs", os.O_RDONLY)
        try:
            return {int(word) for word in os.pread(listed, LIST_BYTES, 0).split()}
        finally:
            os.close(listed)

    def close(self) -> None:
        """What runs goes on."""
        os.close(self._events)
        if self._end >= 0:
            os.close(self._end)
