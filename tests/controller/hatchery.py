"""Controllers by forking a process that has imported what they import: the imports took longer than most tests.

What runs is `segue controller run` itself, in a process of its own with its own environment and log.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


class Hatched:
    """One process that was forked; it is no child of ours, so the kernel tells of its end by a pidfd."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._fd = os.pidfd_open(pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Nothing happens where it has ended."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._fd, number)

    def has_ended(self, within_s: float = 0.0) -> bool:
        """Waits at most that long."""
        return bool(select.select([self._fd], [], [], within_s)[0])

    def close(self) -> None:
        """When nobody asks about it any more."""
        os.close(self._fd)


def hatch(words: Sequence[str], environ: dict[str, str], log: Path) -> Hatched:
    """A process that is `segue` with these words; what it writes is appended to `log`."""
    brood = _brood()
    assert brood.stdin is not None
    assert brood.stdout is not None
    brood.stdin.write(json.dumps([list(words), environ, str(log)]) + "\n")
    brood.stdin.flush()
    return Hatched(int(brood.stdout.readline()))


@functools.cache
def _brood() -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "tests.controller.hatchery"]
    made = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(made.kill)
    return made


def _serve() -> None:
    for name in ("segue.cli.controller", "segue.controller.main"):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # The kernel forgets those that have ended.
    while line := sys.stdin.readline():
        words, environ, log = json.loads(line)
        if pid := os.fork():
            print(pid, flush=True)
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _become(words, environ, log)


def _become(words: list[str], environ: dict[str, str], log: str) -> None:
    from segue.cli.main import main

    os.environ.clear()
    os.environ.update(environ)
    silence, written = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(silence, 0), os.dup2(written, 1), os.dup2(written, 2)
    if "PYTHONPATH" in environ:  # What it names is heeded when Python starts.
        os.execve(sys.executable, [sys.executable, "-m", "segue", *words], environ)
    sys.argv = ["segue", *words]
    code = 1
    try:
        code = main()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
