"""The guest as its client sees it: sockets in the client's network, used from the test itself."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from segue.lab import syscalls
from segue.lab.api import Lab

UDP_ECHO: Final = 7000
DIRTY: Final = 7002
DISK: Final = 7004
CONNECT_S: Final = 20.0
LOOK_S: Final = 0.05

_rest = threading.Event()


def inside(lab: Lab, machine: str, make: Callable[[], socket.socket]) -> socket.socket:
    """A socket made in the network of a machine: it stays there, whoever uses it."""

    def enter() -> socket.socket:
        enter_network(lab, machine)
        return make()

    with ThreadPoolExecutor(max_workers=1) as pool:  # A thread of its own, which ends in that network.
        return pool.submit(enter).result()


def enter_network(lab: Lab, machine: str) -> None:
    """This thread, and those that it starts, are in the network of a machine from now on."""
    with Path(f"/proc/{lab.host_pids(machine)[0]}/ns/net").open() as network:
        syscalls.setns(network.fileno(), syscalls.CLONE_NEWNET)


class Client:
    """Talks to one guest."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._lab = lab
        self._address = address
        self._echo = inside(lab, "client1", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def close(self) -> None:
        """Hangs up."""
        self._echo.close()

    def answered(self, within_s: float = 0.3) -> bool:
        """Whether the guest echoes what is sent to it now."""
        word = os.urandom(8)
        self._echo.settimeout(within_s)
        try:
            self._echo.sendto(word, (self._address, UDP_ECHO))
            while self._echo.recv(64) != word:
                continue
        except OSError:
            return False
        return True

    def ask(self, question: str, port: int = DIRTY) -> str:
        """One line of talk with the service that writes the guest's memory, or with another one."""
        talk = self._connected(port)
        with talk, talk.makefile("rw") as lines:
            lines.write(f"{question}\n")
            lines.flush()
            return lines.readline().strip()

    def _connected(self, port: int) -> socket.socket:
        """A guest that has just booted starts its services one after the other: a refusal is waited out."""
        deadline, to = time.monotonic() + CONNECT_S, (self._address, port)
        while True:
            try:
                return inside(self._lab, "client1", lambda: socket.create_connection(to, timeout=CONNECT_S))
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
            _rest.wait(LOOK_S)

    def uptime_s(self) -> float:
        """How long the guest itself believes to have lived."""
        return float(self.ask("status").split()[-1])

    def demand_right_memory(self) -> None:
        """Every page is what the guest last wrote there; what the guest says instead is shown."""
        said = self.ask("check")
        assert said == "ok", f"the guest's memory: {said!r}"
