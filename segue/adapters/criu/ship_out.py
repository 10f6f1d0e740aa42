"""Sends a folder while it is being filled: the process of one move on its source. It changes nothing in the folder but
how pages lie there: CRIU writes them nowhere, and they are read where they are; or they are gone once they were sent.

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
from pathlib import Path
from typing import Any

from segue.adapters.criu import channel, keys, sources, tmpfs, tree
from segue.adapters.criu.channel import CHUNK_BYTES, Kind
from segue.adapters.criu.pagemap import PAGES, PREFIX
from segue.adapters.criu.pages import Sent

LOOK_S = 0.002
CONNECT_S = 10.0
LAST_WORD_S = 1.0
EAGER_BYTES = CHUNK_BYTES // 4
"""A file is sent before it is complete where so much of it is new. CRIU only ever appends to files that big;
smaller ones, which it may write anew, go at the end."""
Piece = tuple[str, str, int, bytes]
"""What it is (a name in Kind), file, place in it, data."""


class Shipment:
    """One folder on its way over several sockets, and memory of which CRIU writes nothing into it."""

    def __init__(self, folder: Path, outlets: list[Outlet], cgroup: Path, before: Sent | None) -> None:
        self._folder = folder
        self._outlets = outlets
        self._cgroup = cgroup
        self._before = before
        self._pieces: queue.Queue[Piece | None] = queue.Queue(maxsize=4 * len(outlets))
        self._sent: dict[str, int] = {}
        self._complete = threading.Event()
        self._failures: list[OSError] = []

    @property
    def sent_bytes(self) -> int:
        """All that was sent."""
        return sum(one.sent_bytes for one in self._outlets)

    def run(self) -> None:
        """Returns when the folder is complete and sent. Raises OSError, ValueError."""
        # None of them keeps this process alive once an image could not be read.
        threads = [threading.Thread(target=self._carry, args=(one,), daemon=True) for one in self._outlets]
        for thread in threads:
            thread.start()
        if self._before is not None:
            self._before.last(self._cgroup, self._tell)
        while not self._complete.is_set() and not self._failures:
            self._take(EAGER_BYTES)
            time.sleep(LOOK_S)
        self._take(0)
        for _ in threads:
            self._pieces.put(None)
        for thread in threads:
            thread.join()
        if self._failures:
            raise self._failures[0]
        first = self._outlets[0]
        sizes: dict[str, int] = {}
        if self._before is not None:
            sources.clear(self._folder)
            sizes = self._before.settle(self._folder, sources.Sources(self._cgroup).opened, first.send)
        for one in self._outlets[1:]:
            one.send("end", "", 0, b"")
        first.send("end", "", 0, channel.listing(self._folder, sizes))

    def complete(self) -> None:
        """Nothing more is written into the folder."""
        self._complete.set()

    def _tell(self, what: str, name: str, offset: int, data: bytes) -> None:
        """Of memory: what lies elsewhere is told where the order holds, pages go wherever there is room."""
        if self._failures:
            raise self._failures[0]
        if what == "pages" and self._outlets[0].spreads:
            self._pieces.put((what, name, offset, data))
        else:
            self._outlets[0].send(what, name, offset, data)

    def _take(self, least: int) -> None:
        for entry in os.scandir(self._folder):
            if self._before is not None and entry.name.startswith((PREFIX, PAGES)):
                continue  # They are told last, as they are to be there.
            size = entry.stat().st_size
            if entry.name not in self._sent and (not least or entry.name.startswith(PAGES)):
                self._pieces.put(
                    ("data", entry.name, 0, b"")
                )  # It is there, also where nothing of it is sent.
                self._sent[entry.name] = 0
            sent = self._sent.get(entry.name, 0)
            if size - sent < max(least, 1):
                continue
            self._sent[entry.name] = size
            for offset in range(sent, size, CHUNK_BYTES):
                self._put(entry.name, offset, min(CHUNK_BYTES, size - offset))

    def _put(self, name: str, offset: int, length: int) -> None:
        """The memory of an image of memory is given back at once: CRIU gets it for what it writes next."""
        fd = os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC)
        try:
            data = os.pread(fd, length, offset)
            if len(data) != length:
                raise ValueError(f"{name} has become shorter")
            if name.startswith(PAGES):
                tmpfs.punch(fd, offset, length)
        finally:
            os.close(fd)
        self._pieces.put(("data", name, offset, data))

    def _carry(self, out: Outlet) -> None:
        """One socket: takes pieces until there is none; after a failure it takes them to nowhere."""
        broken = False
        while (piece := self._pieces.get()) is not None:
            if broken:
                continue
            try:
                out.send(*piece)
            except OSError as error:
                self._failures.append(error)
                broken = True


class Outlet:
    """One socket, on which each word comes whole."""

    def __init__(self, out: socket.socket) -> None:
        self.socket = out
        self.spreads = keys.by_place(out) >= keys.SPREAD
        """Pages may come on any of them."""
        self.sent_bytes = 0
        self.seconds = 0.0
        """Of sending, without the looking for what is sent."""
        self._lock = threading.Lock()

    def send(self, what: str, name: str, offset: int, data: bytes) -> None:
        """In as many frames as it takes. Raises OSError."""
        begun_s = time.monotonic()
        with self._lock:
            for at in range(0, len(data), CHUNK_BYTES) or (0,):
                channel.send(self.socket, Kind[what.upper()], name, offset + at, data[at : at + CHUNK_BYTES])
        self.sent_bytes += len(data)
        self.seconds += time.monotonic() - begun_s

    def agree(self) -> None:
        """Returns once the target has taken in what was sent on this one: what follows on others is newer. Raises
        OSError."""
        self.word("even")
        said = b""
        while (byte := self.socket.recv(1)) != channel.EVEN:
            if not byte or byte == b"\n":
                why = said.decode(errors="replace").removeprefix("failed ")
                raise ConnectionError(why or "the other host closed the connection")
            said += byte

    def word(self, what: str, offset: int = 0, data: bytes = b"") -> None:
        """One that is about no file. Raises OSError."""
        self.send(what, "", offset, data)


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
    outlets, folder, cgroup = [Outlet(one) for one in sockets], Path(order["folder"]), Path(order["cgroup"])
    before = Sent(order["pages"]) if keys.by_place(sockets[0]) else None
    rounds = tree.Rounds(Path(order["tree"]), tuple(order["parts"])) if order.get("tree") else None
    try:
        if not _send_before(rounds, cgroup, outlets[0], before):
            return 1
        shipment = Shipment(
            folder, outlets, cgroup, before if before and sources.sink(cgroup, folder) else None
        )
        _say("ready")
        threading.Thread(target=_obey, args=(shipment,), daemon=True).start()
        if outlets[0].spreads:
            outlets[0].agree()
        if rounds is not None:
            rounds.run(outlets[0].word)
        shipment.run()
        _say(f"sent {shipment.sent_bytes}")
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


def _send_before(rounds: tree.Rounds | None, cgroup: Path, out: Outlet, pages: Sent | None) -> bool:
    """A round of the application's own files for each `files` that is said, and of its memory, too, for each `round`;
    True once it stands, and the images are to follow."""
    for number, line in enumerate(iter(sys.stdin.readline, ""), start=1):
        if line.strip() == "begin":
            return True
        out.seconds = 0.0
        sent = rounds.run(out.word) if rounds is not None else 0
        if pages is not None and line.strip() == "round":
            sent += pages.round(cgroup, out.send)
        _say(f"round{number} {sent} {out.seconds:.6f}")
    return False


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
