"""An application's memory that is put in place after it runs (see `pager`): what the target's agent does for it."""

from __future__ import annotations

import os
import socket
import sys

from segue.adapters.criu.program import Container, Room
from segue.adapters.criu.running import Running

SOCKET = "lazy-pages.socket"
"""criu/uffd.c, LAZY_PAGES_SOCK_NAME: in its working directory."""


def begin(container: Container, room: Room) -> Running:
    """Starts who puts the pages in place that `laziness.mark` has left out by then. Raises OSError."""
    argv = [sys.executable, "-m", "segue.adapters.criu.pager", str(room.images), str(container.cgroup)]
    folder = os.open(room.work, os.O_PATH | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(
                f"/proc/self/fd/{folder}/{SOCKET}"
            )  # The whole path may be longer than an address can be.
            listener.listen()
            return Running.start(argv, room.pager_log, room.pager_note, listener)
    finally:
        os.close(folder)
