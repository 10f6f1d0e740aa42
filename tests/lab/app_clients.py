"""Clients of applications that move: each checks every answer, and remembers how long it waited for the slowest."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Final

LIMIT_S: Final = 60.0
BLOCK: Final = bytes(range(256)) * 256
NUMBER: Final = struct.Struct("!Q")
PACKET_S: Final = 0.01
"""A socket takes some 270 small packets at once: so many come while it stands for 2.7 s."""
QUIET_S: Final = 1.0
"""After the last packet was sent."""
Connect = Callable[[int], socket.socket]
"""A connection to one port of the application."""


class Client(threading.Thread):
    """Does one thing again and again, until it is told to end or something is wrong."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.count = 0
        self.longest_s = 0.0
        self.failure = ""
        self._enough = threading.Event()

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                begun_s = time.monotonic()
                self.turn()
                self.longest_s = max(self.longest_s, time.monotonic() - begun_s)
                self.count += 1
        except (OSError, ValueError) as error:
            self.failure = f"{self.name}, turn {self.count}: {type(error).__name__}: {error}"

    def turn(self) -> None:
        """One of them. Raises OSError, ValueError."""
        raise NotImplementedError

    def end(self) -> None:
        """After the turn that is under way."""
        self._enough.set()
        self.join(LIMIT_S)
        if self.is_alive():
            self.failure = self.failure or f"{self.name} got no answer to turn {self.count}"

    def pause(self, seconds: float) -> None:
        self._enough.wait(seconds)


class Lines(Client):
    """Running numbers over one connection; every answer is one higher."""

    def __init__(self, connection: socket.socket, pause_s: float) -> None:
        super().__init__("lines")
        self._connection = connection
        connection.settimeout(LIMIT_S)
        self._lines = connection.makefile("rwb", buffering=0)
        self._numbers = itertools.count(1)
        self._pause_s = pause_s

    def turn(self) -> None:
        number = next(self._numbers)
        self._lines.write(b"%d\n" % number)
        said = self._lines.readline()
        if said != b"%d\n" % (number + 1):
            raise ValueError(f"{number} was answered by {said!r}")
        self.pause(self._pause_s)


class Halves(Lines):
    """The same, with a rest in the middle of each request: a move comes there as a rule."""

    def turn(self) -> None:
        number = next(self._numbers)
        self._lines.write(b"%d" % number)
        self.pause(0.2)
        self._lines.write(b"\n")
        said = self._lines.readline()
        if said != b"%d\n" % (number + 1):
            raise ValueError(f"{number} was answered by {said!r}")


class Pages(Client):
    """One connection to a web server that stays open; it says itself which one it is and how often it was asked."""

    REQUEST: Final = b"GET /who HTTP/1.1\r\nHost: app\r\n\r\n"

    def __init__(self, connection: socket.socket) -> None:
        super().__init__("pages")
        connection.settimeout(LIMIT_S)
        self._connection, self._asked = connection, 0
        self._lines = connection.makefile("rb")
        self._who: tuple[str, str] | None = None

    def turn(self) -> None:
        self._connection.sendall(self.REQUEST)
        status, body = answer(self._lines.readline, self._lines.read)
        process, number, asked = body.decode().split()
        self._asked += 1
        self._who = self._who or (process, number)
        if status != 200 or (process, number) != self._who or int(asked) != self._asked:
            raise ValueError(f"{status} {body!r}, and it was {self._who}, request {self._asked}")
        self.pause(0.005)


class Visits(Client):
    """Comes anew for each page, and leaves: some of it always is in the middle of a handshake."""

    REQUEST: Final = b"GET /who HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n"

    def __init__(self, connect: Connect, port: int) -> None:
        super().__init__("visits")
        self._connect, self._port = connect, port

    def turn(self) -> None:
        with self._connect(self._port) as connection, connection.makefile("rb") as lines:
            connection.settimeout(LIMIT_S)
            connection.sendall(self.REQUEST)
            status, _ = answer(lines.readline, lines.read)
        if status != 200:
            raise ValueError(f"{status}")


def answer(readline: Callable[[], bytes], read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """(status, body) of what a web server says. Raises ValueError where it ends."""
    status, length = readline().split(), 0
    if len(status) < 2:
        raise ValueError("the connection was closed")
    while (line := readline().strip().lower()) != b"":
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    body = read(length)
    if len(body) != length:
        raise ValueError("the answer was cut off")
    return int(status[1]), body


class Download(Client):
    """A file that is read slowly over one connection, again and again: its server always has a full buffer."""

    def __init__(self, connection: socket.socket, path: str, content: bytes) -> None:
        super().__init__("download")
        connection.settimeout(LIMIT_S)
        self._connection, self._content = connection, content
        self._request = b"GET %s HTTP/1.1\r\nHost: app\r\n\r\n" % path.encode()
        self._lines = connection.makefile("rb")

    def turn(self) -> None:
        self._connection.sendall(self._request)
        status, body = answer(self._lines.readline, self._slowly)
        if status != 200 or body != self._content:
            raise ValueError(f"{status}, {len(body)} bytes, which are not what the file holds")

    def _slowly(self, length: int) -> bytes:
        found = bytearray()
        while len(found) < length and (part := self._lines.read(min(1 << 16, length - len(found)))):
            found += part
            self.pause(0.01)
        return bytes(found)


class Pour(Client):
    """A server that sends much faster than its client reads: what it has to say waits on both hosts."""

    BLOCKS: Final = 64

    def __init__(self, connection: socket.socket) -> None:
        super().__init__("pour")
        connection.settimeout(LIMIT_S)
        self._connection = connection

    def turn(self) -> None:
        self._connection.sendall(b"pour %d\n" % self.BLOCKS)
        for number in range(self.BLOCKS):
            if exactly(self._connection, len(BLOCK)) != BLOCK:
                raise ValueError(f"block {number} is another one")
            self.pause(0.02)
        if exactly(self._connection, 7) != b"poured\n":
            raise ValueError("too much was poured")


class Packets(Client):
    """Numbered UDP packets to a server that sends them back; how many is `sent`, how many came `count`."""

    def __init__(self, speaker: socket.socket) -> None:
        super().__init__("packets")
        speaker.settimeout(QUIET_S)
        self._speaker = speaker
        self.sent, self.seen = 0, set[int]()
        self.twice = 0
        self._hears = threading.Thread(target=self._hear, daemon=True)
        self._hears.start()

    def turn(self) -> None:
        self._speaker.send(NUMBER.pack(self.sent))
        self.sent += 1
        self.pause(PACKET_S)

    def _hear(self) -> None:
        while True:
            try:
                number = NUMBER.unpack(self._speaker.recv(64))[0]
            except TimeoutError:
                if self._enough.is_set():
                    return
                continue
            except OSError:
                return
            self.twice += number in self.seen
            self.seen.add(number)

    def end(self) -> None:
        super().end()
        self._hears.join(LIMIT_S)

    @property
    def lost(self) -> int:
        """Never answered."""
        return self.sent - len(self.seen)


def exactly(connection: socket.socket, count: int) -> bytes:
    """So many bytes. Raises ValueError where the connection ends before."""
    found = bytearray()
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise ValueError("the connection was closed")
        found += part
    return bytes(found)
