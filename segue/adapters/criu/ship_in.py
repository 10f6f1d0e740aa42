"""Takes in a folder that `ship_out` sends: the process of one move on its target. It starts nothing from it.

Told by lines on its input what to tell the source; ends with its agent.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from segue.adapters.criu import channel, keys
from segue.adapters.criu.channel import Frame, Kind
from segue.adapters.criu.stock import AtHand, Stock
from segue.adapters.criu.tree import Copy
from segue.adapters.inlet import Inlet
from segue.errors import SegueError

HANDSHAKE_S = 5.0


class Intake:
    """One folder as it arrives over several sockets."""

    def __init__(self, folder: Path, sockets: list[socket.socket], files: Copy) -> None:
        self._folder = folder
        self._before = Stock(folder)
        self.at_hand = AtHand()
        self._files = files
        self.sockets = sockets
        self.first = sockets[0]
        self.bytes = 0
        self._listed = b""
        self._lock = threading.Lock()

    def run(self) -> None:
        """Returns when all is here. Raises OSError, ValueError."""
        failures: list[Exception] = []
        threads = [threading.Thread(target=self._take, args=(one, failures)) for one in self.sockets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        if missing := channel.differences(self._folder, self._listed):
            raise ValueError(f"not all has arrived: {'; '.join(missing[:3])}")
        self._before.settle()

    def _take(self, source: socket.socket, failures: list[Exception]) -> None:
        try:
            while (frame := channel.receive(source)).kind is not Kind.END:
                data = channel.exactly(source, frame.length)
                if frame.kind is Kind.DATA:
                    self._put(frame, data)
                elif source is self.sockets[0] or frame.kind is Kind.PAGES:
                    self._take_before(frame, data)
                else:
                    raise ValueError("files come on the first socket alone")
            if source is self.sockets[0]:
                self._files.finish()
            if frame.length:
                self._listed, self.first = bytes(channel.exactly(source, frame.length)), source
        except (OSError, ValueError) as error:
            failures.append(error)
            if (
                source is self.sockets[0]
            ):  # Nobody else speaks on it now, and the source would only see it break.
                _tell(source, f"failed the target cannot take it: {error}\n")
            for one in self.sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _take_before(self, frame: Frame, data: bytearray) -> None:
        if frame.kind is Kind.PAGES:
            with self._lock:
                self._before.put(frame.name, frame.offset, data)
                self.at_hand.grow(self._before.held_bytes())
        elif frame.kind is Kind.EVEN:
            self.sockets[0].sendall(channel.EVEN)
        elif frame.kind is Kind.COPY:
            with self._lock:
                self._before.copy(frame.name, frame.offset, data)
        elif frame.kind is Kind.MOVE:
            self._before.move(frame.name, frame.offset, data)
        else:
            self._files.take(frame.kind.name.lower(), frame.offset, data)

    def _put(self, frame: Frame, data: bytearray) -> None:
        fd = os.open(self._folder / frame.name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            view, at = memoryview(data), 0
            while at < len(data):
                at += os.pwrite(fd, view[at:], frame.offset + at)
        finally:
            os.close(fd)
        self.bytes += len(data)


def accept(listener: socket.socket, count: int, identity: bytes) -> list[socket.socket]:
    """So many connections of whoever knows the key; strangers are sent away."""
    context = keys.context(identity, server=True) if identity else None
    made: list[socket.socket] = []
    while len(made) < count:
        plain, _ = listener.accept()
        plain.settimeout(HANDSHAKE_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            ready = context.wrap_socket(plain, server_side=True) if context else plain
            if ready.recv(1) != b"+":
                raise ConnectionError("nothing was said")
        except OSError as error:
            _say(f"refused {error}")
            plain.close()
            continue
        ready.settimeout(None)
        made.append(ready)
    return made


def main() -> int:
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        listener = Inlet(**order["inlet"]).listen()
    except (OSError, SegueError) as error:
        _say(f"failed {error}")
        return 1
    _say(f"listening {listener.getsockname()[1]}")
    words: list[socket.socket] = []
    threading.Thread(target=_pass_on, args=(words,), daemon=True).start()
    sockets = accept(listener, order["channels"], order["identity"].encode())
    listener.close()
    _say("connected")
    intake = Intake(Path(order["folder"]), sockets, Copy(Path(order.get("tree") or order["folder"])))
    try:
        intake.run()
    except (OSError, ValueError) as error:
        _say(f"failed {error}")
        _tell(sockets[0], f"failed {error}\n")
        return 1
    words.append(intake.first)
    _say(f"arrived {intake.bytes}")
    intake.at_hand.free()  # CRIU has begun by then, and needs it from now on.
    threading.Event().wait()  # Until the agent ends it.
    return 0


def _pass_on(words: list[socket.socket]) -> None:
    for line in sys.stdin:
        if words:
            _tell(words[0], line)
        if line.startswith("failed "):
            break
    os._exit(0)


def _tell(source: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):
        source.sendall(line.encode())


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
