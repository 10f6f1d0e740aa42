"""Who listens at a socket is found also when the process is busy with another caller."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

from segue.adapters.process import listener_pid


def test_nobody(tmp_path: Path) -> None:
    assert listener_pid(tmp_path / "none") is None


def test_a_queue_that_is_full_is_waited_for(tmp_path: Path) -> None:
    """As QEMU does: a queue of one, and a call is taken only when the one before is over."""
    path = tmp_path / "busy"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(0)
        first = socket.socket(socket.AF_UNIX)
        first.connect(str(path))
        found: list[int | None] = []
        asking = threading.Thread(target=lambda: found.append(listener_pid(path)))
        asking.start()
        server.accept()[0].close()
        asking.join(10)
        first.close()
    assert found == [os.getpid()]
