"""A shell inside the lab's guest, over its serial console, as a person would use it."""

from __future__ import annotations

import itertools
import re
import socket
import time
from pathlib import Path
from typing import Final

LIMIT_S: Final = 30.0
_numbers = itertools.count(1)


class Shell:
    """One connection to the console; it ends when the guest leaves the host."""

    def __init__(self, console: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LIMIT_S)
        self._socket.connect(str(console))

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def send(self, line: str) -> None:
        """Waits for its echo alone: QEMU forgets what it has not read yet of one that hangs up."""
        self._socket.sendall(f"{line}\n".encode())
        heard = b""
        while line.encode() not in heard:
            heard += self._socket.recv(4096)

    def run(self, command: str) -> str:
        """What the command says. The terminal echoes the line, so the marks of the answer are not spelt out in it."""
        number = next(_numbers)
        line = f"echo be''gin{number}; {command}; echo e''nd{number}\n"
        self._socket.sendall(line.encode())
        heard, until_s = b"", time.monotonic() + LIMIT_S
        found = None
        while found is None:
            assert time.monotonic() < until_s, f"no answer to `{command}`: {heard!r}"
            heard += self._socket.recv(4096)
            found = re.search(rf"begin{number}\r?\n(.*?)end{number}".encode(), heard, re.DOTALL)
        return found[1].decode(errors="replace").replace("\r", "").strip()
