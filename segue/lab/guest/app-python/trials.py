"""What a move may break, tried all the time: each trial is one turn, done again and again, that checks itself."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

NUMBER = struct.Struct("!Q")
IN_FLIGHT = 3
"""So many messages lie in each queue at every moment."""
LIMIT_S = 5.0
Turn = Callable[[int], None]


class Trial(threading.Thread):
    """Turns of one sort in a thread of their own; it ends with the first that fails."""

    def __init__(self, name: str, turn: Turn, pause_s: float = 0.01) -> None:
        super().__init__(name=name, daemon=True)
        self._turn, self._pause_s = turn, pause_s
        self.turns, self.complaint = 0, ""

    def run(self) -> None:
        try:
            while True:
                self._turn(self.turns)
                self.turns += 1
                time.sleep(self._pause_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what broke
            self.complaint = f"turn {self.turns}: {type(error).__name__}: {error}"

    def check(self) -> str:
        """What is wrong with it; empty for nothing."""
        until_s, wanted = time.time() + LIMIT_S, self.turns + 2
        while self.turns < wanted and not self.complaint:
            if time.time() > until_s:
                return f"it stands still at turn {self.turns}"
            time.sleep(0.005)
        return self.complaint


def demand(holds: object, what: str) -> None:
    """An assertion that no option switches off."""
    if not holds:
        raise ValueError(what)


def queue(write: Callable[[bytes], object], read: Callable[[], bytes]) -> Turn:
    """Numbers go in and come out in order, while some are always under way."""
    for number in range(IN_FLIGHT):
        write(NUMBER.pack(number))

    def turn(number: int) -> None:
        write(NUMBER.pack(number + IN_FLIGHT))
        came = NUMBER.unpack(read())[0]
        demand(came == number, f"{came} came")

    return turn


def queues() -> Iterator[tuple[str, Turn]]:
    """Everything through which processes of one application speak."""
    reader, writer = os.pipe()
    yield "pipe", queue(lambda data: os.write(writer, data), lambda: os.read(reader, 8))
    Path("/dev/shm/fifo").unlink(missing_ok=True)
    os.mkfifo("/dev/shm/fifo")
    fifo = os.open("/dev/shm/fifo", os.O_RDWR)
    yield "fifo", queue(lambda data: os.write(fifo, data), lambda: os.read(fifo, 8))
    kinds = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
    for name, kind in kinds.items():
        yield f"unix {name}", over(*socket.socketpair(socket.AF_UNIX, kind))
    yield "unix, by name", over(*_connected(socket.AF_UNIX, "/dev/shm/named"))
    yield "unix, abstract", over(*_connected(socket.AF_UNIX, "\0segue"))
    yield "loopback", over(*_connected(socket.AF_INET, ("127.0.0.1", 0)))
    yield "loopback, IPv6", over(*_connected(socket.AF_INET6, ("::1", 0)))
    yield "loopback, half closed", _half_closed(*_connected(socket.AF_INET, ("127.0.0.1", 0)))
    master, slave = os.openpty()
    yield "terminal", _terminal(master, slave)


def over(one: socket.socket, other: socket.socket) -> Turn:
    return queue(one.sendall, lambda: other.recv(8))


def _connected(family: int, address: object) -> tuple[socket.socket, socket.socket]:
    listener = socket.socket(family, socket.SOCK_STREAM)
    if isinstance(address, str) and address.startswith("/"):
        Path(address).unlink(missing_ok=True)
    listener.bind(address)  # type: ignore[arg-type]
    listener.listen()
    one = socket.socket(family, socket.SOCK_STREAM)
    one.connect(listener.getsockname())
    other, _ = listener.accept()
    kept.append(listener)
    return one, other


kept: list[object] = []
"""What would be closed if nobody held it."""


def _half_closed(one: socket.socket, other: socket.socket) -> Turn:
    other.shutdown(socket.SHUT_WR)
    inner = over(one, other)

    def turn(number: int) -> None:
        inner(number)
        demand(one.recv(1) == b"", "something came out of the closed half")

    return turn


def _terminal(master: int, slave: int) -> Turn:
    def turn(number: int) -> None:
        os.write(master, b"%d\n" % number)
        came = os.read(slave, 100)
        demand(came == b"%d\n" % number, f"{came!r} came")
        os.read(master, 100)  # Its echo.

    return turn
