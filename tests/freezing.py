"""Stops a process that writes to a SQLite file, but never in the middle of a write: it would hold the file's lock."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Final

LIMIT_S: Final = 60.0


def stands(pid: int) -> bool:
    """Whether each of its threads is stopped: a signal that was sent has not yet arrived."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def stop(pid: int) -> None:
    """Returns when it does nothing any more."""
    os.kill(pid, signal.SIGSTOP)
    until_s = time.monotonic() + LIMIT_S
    while not stands(pid):
        assert time.monotonic() < until_s, f"not within {LIMIT_S:.0f} s: process {pid} stands still"


def stop_between_writes(pid: int, file: Path) -> None:
    """Others can write to the file afterwards."""
    for _ in range(50):
        stop(pid)
        with contextlib.closing(sqlite3.connect(file, timeout=0.2, isolation_level=None)) as db:
            try:
                db.execute("begin immediate")
                return
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.05)
    raise AssertionError("it writes all the time")
