"""Sends a folder while it is being filled: the process of one move on its source. It changes nothing in the folder.

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

from segue.adapters.criu import channel, keys, tree
from segue.adapters.criu.channel import CHUNK_BYTES, Kind
from segue.adapters.criu.pages import PAGE_BYTES, Sent

LOOK_S = 0.002
CONNECT_S = 10.0
LAST_WORD_S = 1.0
MEMORY = "pages-"
"""CRIU's images of memory begin like that, and hold nothing else."""
EAGER_BYTES = CHUNK_BYTES // 4
"""A file is sent before it is complete where so much of it is new. CRIU only ever appends to files that big;
smaller ones, which it may write anew, go at the end."""
Piece = tuple[str, int, int]


class Shipment:
    """One folder on its way over several sockets."""

    def __init__(self, folder: Path, sockets: list[socket.socket], before: Sent | None) -> None:
        self._folder = folder
        self._sockets = sockets
        self._before = before
        self._pieces: queue.Queue[Piece | None] = queue.Queue(maxsize=4 * len(sockets))
        self._sent: dict[str, int] = {}
        self._complete = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        """Returns when the folder is complete and sent. Raises OSError."""
        failures: list[OSError] = []
        threads = [threading.Thread(target=self._carry, args=(out, failures)) for out in self._sockets]
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
        for out in self._sockets[1:]:
            channel.send(out, Kind.END, "", 0, b"")
        channel.send(self._sockets[0], Kind.END, "", 0, channel.listing(self._folder))

    def complete(self) -> None:
        """Nothing more is written into the folder."""
        self._complete.set()

    def _take(self, least: int) -> None:
        for entry in os.scandir(self._folder):
            size, sent = entry.stat().st_size, self._sent.get(entry.name, 0)
            if least and entry.name.startswith(MEMORY):
                size -= size % PAGE_BYTES
            if size - sent < max(least, 1) and not (least == 0 and entry.name not in self._sent):
                continue
            self._sent[entry.name] = size
            for offset in range(sent, size, CHUNK_BYTES) or (0,):
                self._pieces.put((entry.name, offset, min(CHUNK_BYTES, size - offset)))

    def _carry(self, out: socket.socket, failures: list[OSError]) -> None:
        """One socket: takes pieces until there is none; after a failure it takes them to nowhere."""
        broken = False
        while (piece := self._pieces.get()) is not None:
            if broken:
                continue
            try:
                self._send(out, *piece)
            except OSError as error:
                failures.append(error)
                broken = True

    def _send(self, out: socket.socket, name: str, offset: int, length: int) -> None:
        fd = os.open(self._folder / name, os.O_RDONLY)
        try:
            data = os.pread(fd, length, offset)
        finally:
            os.close(fd)
        short = self._before.short(data) if self._before is not None and name.startswith(MEMORY) else b""
        channel.send(out, Kind.PART if short else Kind.DATA, name, offset, short or data)
        self.bytes += len(short or data)


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
    before = Sent(order["pages"]) if keys.by_content(sockets[0]) else None
    shipment = Shipment(Path(order["folder"]), sockets, before)
    try:
        if not _send_before(order, sockets[0], before):
            return 1
        threading.Thread(target=_obey, args=(shipment,), daemon=True).start()
        shipment.run()
        _say(f"sent {shipment.bytes}")
        for line in sockets[0].makefile("r"):
            _say(line.strip())
    except OSError as error:
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
            if pages is not None:
                sending.word("begun")
            return True
        sending.seconds = 0.0
        sent = rounds.run(sending.word) if rounds is not None else 0
        if pages is not None and line.strip() == "round":
            sent += pages.round(Path(order["cgroup"]), lambda data: sending.word("pages", 0, data))
        _say(f"round{number} {sent} {sending.seconds:.6f}")
    return False


class Sending:
    """What goes before the images, over one socket; and how long that took, without the looking for it."""

    def __init__(self, out: socket.socket) -> None:
        self._out = out
        self.seconds = 0.0

    def word(self, what: str, offset: int = 0, data: bytes = b"") -> None:
        """One word of the channel. Raises OSError."""
        begun_s = time.monotonic()
        channel.send(self._out, Kind[what.upper()], "", offset, data)
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
