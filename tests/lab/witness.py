"""The application of the fault cases, run inside its container: it ticks into a file that all hosts see, writes its
memory and a file of its own all the time, and can prove both. Only the standard library is there.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import sys
import threading
import time
import zlib
from typing import Final

PORT: Final = 7000
PAGE: Final = 4096
TICK_S: Final = 0.004
TICK: Final = struct.Struct("<QQQ")
"""Which life, which tick of it, and when (nanoseconds of the machine's own clock)."""
SLOTS: Final = 64


class Witness:
    """All that it holds."""

    def __init__(self, memory_mib: int) -> None:
        self.life = int.from_bytes(os.urandom(7), "little")
        self.count = 0
        self.memory = bytearray(os.urandom(1 << 20) * memory_mib)
        self.sums = [self._sum(page) for page in range(len(self.memory) // PAGE)]
        self.slots = [0] * SLOTS
        self.ticks = os.open("/ticks/ticks", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.own = os.open("/data/own", os.O_RDWR | os.O_CREAT)
        self.lock = threading.Lock()

    def tick(self) -> None:
        """One more: first for everybody to see, then in memory and in the file."""
        with self.lock:
            self.count += 1
            os.write(self.ticks, TICK.pack(self.life, self.count, time.monotonic_ns()))
            page = random.randrange(len(self.sums))
            self.memory[page * PAGE : page * PAGE + 8] = self.count.to_bytes(8, "little")
            self.sums[page] = self._sum(page)
            slot = self.count % SLOTS
            os.pwrite(self.own, self.count.to_bytes(8, "little") * 64, slot * 512)
            self.slots[slot] = self.count

    def check(self) -> str:
        """`ok`, or how many pages of memory and blocks of the file are not what was last written there."""
        with self.lock:
            pages = sum(self._sum(page) != known for page, known in enumerate(self.sums))
            blocks = 0
            with open("/data/own", "rb") as again:
                for known in self.slots:
                    expected = known.to_bytes(8, "little") * 64 if known else b""
                    blocks += bool(expected) and again.read(512) != expected
                    if not expected:
                        again.seek(512, 1)
        return "ok" if not pages + blocks else f"bad {pages + blocks}"

    def _sum(self, page: int) -> int:
        return zlib.crc32(memoryview(self.memory)[page * PAGE : (page + 1) * PAGE])


def serve(witness: Witness, connection: socket.socket) -> None:
    """One line in, one line out, for as long as the client wants."""
    with connection, connection.makefile("rw") as lines:
        for line in lines:
            word, _, rest = line.strip().partition(" ")
            said = witness.check() if word == "check" else f"{witness.life} {witness.count}"
            lines.write(f"{rest} {said}\n")
            lines.flush()


def listen(witness: Witness) -> None:
    listening = socket.create_server(("", PORT), backlog=64)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(witness, connection), daemon=True).start()


def main() -> None:
    witness = Witness(int(sys.argv[1]))
    threading.Thread(target=listen, args=(witness,), daemon=True).start()
    while True:
        witness.tick()
        time.sleep(TICK_S)


if __name__ == "__main__":
    main()
