"""The witness as its client sees it: one connection that has to live for as long as the application does."""

from __future__ import annotations

import itertools
import socket
import time
from typing import Final

from segue.lab.api import Lab
from tests.lab import client, witness

CONNECT_S: Final = 10.0
ANSWER_S: Final = 30.0


class AppClient:
    """Talks to one witness, always over the same connection."""

    def __init__(self, lab: Lab, address: str) -> None:
        self._lab = lab
        self._address = address
        self._numbers = itertools.count()
        self._talk: socket.socket | None = None
        self._rest = b""
        self.breaks = 0
        """How often the connection ended under us."""

    def close(self) -> None:
        """Hangs up."""
        if self._talk is not None:
            self._talk.close()
        self._talk, self._rest = None, b""

    def answered(self, within_s: float = 0.3) -> bool:
        """Whether it answers now, over the connection that was there before."""
        return self._ask("ping", within_s) is not None

    def life(self) -> int:
        """A number that is another one after each start from its files."""
        return int(self._need("ping").split()[0])

    def uptime_s(self) -> float:
        """How long it has run, by its own ticks."""
        return int(self._need("ping").split()[1]) * witness.TICK_S

    def demand_right_memory(self) -> None:
        """Every page of its memory and every block of its file is what it wrote there last."""
        said = self._need("check")
        assert said == "ok", f"the application's memory and file: {said}"

    def check(self) -> str:
        """The same, as it says it."""
        return self._need("check")

    def _need(self, word: str) -> str:
        said = self._ask(word, ANSWER_S)
        assert said is not None, "the application does not answer"
        return said

    def _ask(self, word: str, within_s: float) -> str | None:
        number, until_s = str(next(self._numbers)), time.monotonic() + within_s
        try:
            if self._talk is None:
                to = (self._address, witness.PORT)
                self._talk = client.inside(
                    self._lab, "client1", lambda: socket.create_connection(to, timeout=within_s)
                )
            self._talk.settimeout(max(0.01, until_s - time.monotonic()))
            self._talk.sendall(f"{word} {number}\n".encode())
            return self._hear(number, until_s)
        except TimeoutError:
            return None
        except OSError:
            self.breaks += self._talk is not None
            self.close()
            return None

    def _hear(self, number: str, until_s: float) -> str:
        """Its answer to this very question; those to earlier ones, which came late, are passed over."""
        assert self._talk is not None
        while True:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                first, _, said = line.decode().partition(" ")
                if first == number:
                    return said
            self._talk.settimeout(max(0.01, until_s - time.monotonic()))
            data = self._talk.recv(4096)
            if not data:
                raise ConnectionError("it hung up")
            self._rest += data
