"""Sends a folder while it is being filled: the process of one move on its source. It changes nothing in the folder
but that pages which were read there are gone: nobody needs them again.

Run as `python -m segue.adapters.criu.ship_out`, told what to do by lines on its input, telling how it goes by lines
on its output. It ends with its agent: what it sent is then worthless, as nobody would hand over.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from segue.adapters.criu import channel, keys, pagemap, tmpfs, tree
from segue.adapters.criu.channel import CHUNK_BYTES, Kind
from segue.adapters.criu.pages import PAGE_BYTES, Judged, Sent

LOOK_S = 0.002
CONNECT_S = 10.0
LAST_WORD_S = 1.0
MEMORY = "pages-"
"""CRIU's images of memory begin like that, and hold nothing else."""
EAGER_BYTES = CHUNK_BYTES // 4
"""A file is sent before it is complete where so much of it is new. CRIU only ever appends to files that big;
smaller ones, which it may write anew, go at the end."""
LOOK_BYTES = 4 << 20
"""Of an image of memory, what is looked at in one go."""
Piece = tuple[str, int, bytes]
Look = tuple[int, bytearray, memoryview, Judged | None]
"""Place in the file, buffer, what is in use of it, what was found."""


class Shipment:
    """One folder on its way over several sockets."""

    def __init__(self, folder: Path, sockets: list[socket.socket], before: Sent | None) -> None:
        self._folder = folder
        self._sockets = sockets
        self._before = before
        self._pieces: queue.Queue[Piece | None] = queue.Queue(maxsize=4 * len(sockets))
        self._sent: dict[str, int] = {}
        self._complete = threading.Event()
        self._lookers = ThreadPoolExecutor(len(sockets))
        self._looks: deque[tuple[str, Future[Look]]] = deque()
        self._buffers: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        for _ in range(3 * len(sockets)):
            self._buffers.put(bytearray(LOOK_BYTES))
        self.bytes = 0

    def run(self) -> None:
        """Returns when the folder is complete and sent. Raises OSError, ValueError."""
        failures: list[OSError] = []
        # None of them keeps this process alive once an image could not be read.
        threads = [
            threading.Thread(target=self._carry, args=(out, failures), daemon=True) for out in self._sockets
        ]
        for thread in threads:
            thread.start()
        while not self._complete.is_set() and not failures:
            self._take(EAGER_BYTES)
            time.sleep(LOOK_S)
        self._take(0)
        for _ in threads:
            self._pieces.put(None)
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        sizes = self._before.settle(self._folder, self._last) if self._before is not None else {}
        for out in self._sockets[1:]:
            channel.send(out, Kind.END, "", 0, b"")
        channel.send(self._sockets[0], Kind.END, "", 0, channel.listing(self._folder, sizes))

    def complete(self) -> None:
        """Nothing more is written into the folder."""
        self._complete.set()

    def _last(self, what: str, name: str, offset: int, data: bytes) -> None:
        self.bytes += len(data)
        _send(self._sockets[0], what, name, offset, data)

    def _take(self, least: int) -> None:
        for entry in os.scandir(self._folder):
            size = entry.stat().st_size
            if self._before is not None and entry.name.startswith(pagemap.PREFIX):
                continue  # It is told last, as it is to be there.
            if entry.name not in self._sent and (not least or entry.name.startswith(MEMORY)):
                self._pieces.put((entry.name, 0, b""))  # It is there, also where nothing of it is sent.
                self._sent[entry.name] = 0
            if least and entry.name.startswith(MEMORY):
                size -= size % PAGE_BYTES
            sent = self._sent.get(entry.name, 0)
            if size - sent < max(least, 1):
                continue
            self._sent[entry.name] = size
            if entry.name.startswith(MEMORY):
                self._take_memory(entry.name, sent, size)
            else:
                self._put(entry.name, sent, self._read(entry.name, sent, size - sent))
        self._pass_on(least=0 if not least else len(self._sockets))

    def _take_memory(self, name: str, begin: int, end: int) -> None:
        """Several look at what was written, and it is sent in its order."""
        for offset in range(begin, end, LOOK_BYTES):
            look = self._lookers.submit(self._look, name, offset, min(LOOK_BYTES, end - offset))
            self._looks.append((name, look))
            self._pass_on(least=2 * len(self._sockets))

    def _look(self, name: str, offset: int, length: int) -> Look:
        """Its memory is given back at once: CRIU gets it for what it writes next."""
        buffer = self._buffers.get()
        fd = os.open(self._folder / name, os.O_RDWR)
        try:
            view = memoryview(buffer)[:length]
            if os.preadv(fd, [view], offset) != length:
                raise ValueError(f"{name} has become shorter")
            tmpfs.punch(fd, offset, length)
            return offset, buffer, view, self._before.judge(view) if self._before is not None else None
        finally:
            os.close(fd)

    def _pass_on(self, least: int) -> None:
        """What was looked at, the oldest first; waits while more than so many are being looked at."""
        while self._looks and (len(self._looks) > least or self._looks[0][1].done()):
            name, look = self._looks.popleft()
            offset, buffer, view, judged = look.result()
            if judged is None or self._before is None:
                self._put(name, offset, bytes(view))
            else:
                for place, part in self._before.new(name, view, judged):
                    self._put(name, place, part)
            self._buffers.put(buffer)

    def _put(self, name: str, offset: int, data: bytes) -> None:
        for at in range(0, len(data), CHUNK_BYTES):
            self._pieces.put((name, offset + at, data[at : at + CHUNK_BYTES]))

    def _read(self, name: str, offset: int, length: int) -> bytes:
        with (self._folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def _carry(self, out: socket.socket, failures: list[OSError]) -> None:
        """One socket: takes pieces until there is none; after a failure it takes them to nowhere."""
        broken = False
        while (piece := self._pieces.get()) is not None:
            if broken:
                continue
            try:
                name, offset, data = piece
                channel.send(out, Kind.DATA, name, offset, data)
                self.bytes += len(data)
            except OSError as error:
                failures.append(error)
                broken = True


def _send(out: socket.socket, what: str, name: str, offset: int, data: bytes) -> None:
    """In as many frames as it takes. Raises OSError."""
    for at in range(0, len(data), CHUNK_BYTES) or (0,):
        channel.send(out, Kind[what.upper()], name, offset + at, data[at : at + CHUNK_BYTES])


def connect(host: str, port: int, count: int, identity: bytes) -> list[socket.socket]:
    """So many connections, each with its own handshake. Raises OSError."""
    made: list[socket.socket] = []
    context = keys.context(identity, server=False) if identity else None
    for _ in range(count):
        plain = socket.create_connection((host, port), CONNECT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ready = context.wrap_socket(plain) if context else plain
        ready.sendall(b"+")
        ready.settimeout(None)
        made.append(ready)
    return made


def main() -> int:
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        sockets = connect(order["host"], order["port"], order["channels"], order["identity"].encode())
    except OSError as error:
        return _say(f"failed cannot connect: {error}", 1)
    _say("connected")
    before = Sent(order["pages"]) if keys.by_place(sockets[0]) else None
    shipment = Shipment(Path(order["folder"]), sockets, before)
    try:
        if not _send_before(order, sockets[0], before):
            return 1
        threading.Thread(target=_obey, args=(shipment,), daemon=True).start()
        shipment.run()
        _say(f"sent {shipment.bytes}")
        for line in sockets[0].makefile("r"):
            _say(line.strip())
    except (OSError, ValueError) as error:
        return _say(_last_word(sockets[0]) or f"failed {error}", 1)
    return 0


def _last_word(first: socket.socket) -> str:
    """Why the target takes nothing more, if it said so; empty where it did not."""
    try:
        first.settimeout(LAST_WORD_S)
        line = first.makefile("r").readline().strip()
    except (OSError, ValueError):
        return ""
    return line if line.startswith("failed ") else ""


def _send_before(order: dict[str, Any], out: socket.socket, pages: Sent | None) -> bool:
    """A round of the application's own files for each `files` that is said, and of its memory, too, for each `round`;
    True once the images are to follow."""
    rounds = tree.Rounds(Path(order["tree"]), tuple(order["parts"])) if order.get("tree") else None
    sending = Sending(out)
    for number, line in enumerate(iter(sys.stdin.readline, ""), start=1):
        if line.strip() == "begin":
            return True
        sending.seconds = 0.0
        sent = rounds.run(sending.word) if rounds is not None else 0
        if pages is not None and line.strip() == "round":
            sent += pages.round(Path(order["cgroup"]), sending.named)
        _say(f"round{number} {sent} {sending.seconds:.6f}")
    return False


class Sending:
    """What goes before the images, over one socket; and how long that took, without the looking for it."""

    def __init__(self, out: socket.socket) -> None:
        self._out = out
        self.seconds = 0.0

    def word(self, what: str, offset: int = 0, data: bytes = b"") -> None:
        """One word of the channel. Raises OSError."""
        self.named(what, "", offset, data)

    def named(self, what: str, name: str, offset: int, data: bytes) -> None:
        """One that is about a file. Raises OSError."""
        begun_s = time.monotonic()
        _send(self._out, what, name, offset, data)
        self.seconds += time.monotonic() - begun_s


def _obey(shipment: Shipment) -> None:
    for line in sys.stdin:
        if line.strip() == "complete":
            shipment.complete()
    os._exit(1)  # The agent has ended, or wants this to end.


def _say(line: str, code: int = 0) -> int:
    print(line, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
