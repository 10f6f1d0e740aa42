"""A server that holds everything an application may hold, tries all of it all the time, and says what broke.

One line in, one line out: a running number comes back one higher; `check` is answered by what is wrong, as JSON.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import threading

import trials_files
import trials_process
import trials_time
from trials import Trial, queues

PORT, ECHO, WAITING = 8080, 8081, 8082
BLOCK = bytes(range(256)) * 256
"""What is poured: 64 KiB."""


class Server:
    """Each connection has a thread and a running number of its own."""

    def __init__(self, trials: list[Trial]) -> None:
        self._trials = trials
        # Nobody accepts here before he is told to.
        self._waiting = socket.create_server(("", WAITING), backlog=16)

    def serve(self, connection: socket.socket) -> None:
        expected = itertools.count(1)
        with connection, connection.makefile("rwb") as lines:
            for line in lines:
                words = line.decode().split()
                match words:
                    case ["check"]:
                        said = json.dumps(
                            {each.name: found for each in self._trials if (found := each.check())}
                        )
                    case ["turns"]:
                        said = json.dumps({each.name: each.turns for each in self._trials})
                    case ["pour", blocks]:
                        for _ in range(int(blocks)):
                            lines.write(BLOCK)
                        said = "poured"
                    case ["accept"]:
                        threading.Thread(
                            target=self.serve, args=(self._waiting.accept()[0],), daemon=True
                        ).start()
                        said = "accepted"
                    case [number] if int(number) == next(expected):
                        said = str(int(number) + 1)
                    case _:
                        said = f"unexpected {line!r}"
                lines.write(said.encode() + b"\n")
                lines.flush()


def echo() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
        speaker.bind(("", ECHO))
        while True:
            data, whence = speaker.recvfrom(2048)
            speaker.sendto(data, whence)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.pthread_sigmask(signal.SIG_BLOCK, trials_time.BLOCKED)
    memory_mib = int(sys.argv[1]) if len(sys.argv) > 1 else 8
    # What forks comes first: a thread's lock is not for a child.
    turns = [*trials_process.trials(memory_mib), *queues(), *trials_files.trials(), *trials_time.trials()]
    found = [Trial(name, turn) for name, turn in turns]
    for trial in found:
        trial.start()
    server = Server(found)
    threading.Thread(target=echo, daemon=True).start()
    listening = socket.create_server(("", PORT), backlog=64)
    print(f"tries {len(found)} things", flush=True)
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=server.serve, args=(connection,), daemon=True).start()


main()
