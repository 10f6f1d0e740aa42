"""A server with threads and state: counts what it was asked, keeps connections open, holds memory."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

PORT = 8080
lock = threading.Lock()
asked: list[int] = [0]
held: list[bytearray] = []


def serve(connection: socket.socket) -> None:
    """One line in, one line out, for as long as the client wants."""
    with connection, connection.makefile("rwb") as lines:
        for line in lines:
            lines.write(answer(line.decode().split()).encode() + b"\n")
            lines.flush()


def answer(words: list[str]) -> str:
    with lock:
        asked[0] += 1
        match words:
            case ["hold", mib]:
                held.extend(bytearray(os.urandom(1 << 20)) for _ in range(int(mib)))
                return f"holds {sum(map(len, held)) >> 20}"
            case ["env", name]:
                return os.environ.get(name, "")
            case ["end", status]:
                print(f"ends with {status}", flush=True)
                os._exit(int(status))
            case ["whoami"]:
                return f"{os.getuid()} {os.getgid()} {os.getpid()}"
            case _:
                return f"{asked[0]} {' '.join(words)}"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listening = socket.create_server(("", PORT), backlog=64)
    print(f"listens at {PORT}", flush=True)
    print("words for stderr", file=sys.stderr, flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
