"""What the tests of faults wait with: a condition with a limit, a place where an agent halts, a migration."""

from __future__ import annotations

import itertools
import os
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from segue.cli.fleet import Host
from segue.errors import Kind, SegueError

LIMIT_S: Final = 150.0
"""For a busy machine; nothing waits that long when all is well."""
LOOK_S: Final = 0.08
ENDS: Final = frozenset({"done", "aborted", "lost"})
LIMITS: Final = {"blackout_s": 5.0, "deadline_s": 180.0, "stall_s": 3.0}
SLOWLY: Final[dict[str, Any]] = {"bandwidth_bytes_per_s": 512 << 10, "ladder": ["wait"]}
"""A copy is still under way when the fault comes, and when a command on a busy machine is over: not compressed, as
most of a lab guest's memory is zeros."""

_rest = threading.Event()
_numbers = itertools.count()


def wait_until(met: Callable[[], object], what: str, limit_s: float = LIMIT_S) -> None:
    """Waits for something that nobody announces; an agent that restarts has just not said it yet."""
    deadline = time.monotonic() + limit_s
    while not _holds(met):
        assert time.monotonic() < deadline, f"not within {limit_s:.0f} s: {what}"
        _rest.wait(LOOK_S)


def _holds(met: Callable[[], object]) -> object:
    try:
        return met()
    except SegueError as error:
        if error.kind not in {Kind.UNREACHABLE, Kind.NOT_FOUND}:
            raise
        return False


class Halt:
    """A place where an agent stands still, all of it, until the test lets it go: no race with the fault."""

    def __init__(self, run: Path) -> None:
        number = next(_numbers)
        halted, go = f"halted{number}", f"go{number}"
        os.mkfifo(run / halted)
        os.mkfifo(run / go)
        self._halted = os.open(run / halted, os.O_RDONLY | os.O_NONBLOCK)
        self._go = os.open(run / go, os.O_RDWR)
        self.action = f"exec echo here >/run/segue/{halted}; read word </run/segue/{go}"

    def wait(self, limit_s: float = LIMIT_S) -> None:
        """Returns when the agent has come there."""
        ready, _, _ = select.select([self._halted], [], [], limit_s)
        assert ready, f"the agent did not come to the place within {limit_s:.0f} s"

    def go(self) -> None:
        """Lets the agent go on; no harm if it is dead."""
        os.write(self._go, b"\n")

    def close(self) -> None:
        """When the case is over: a word that nobody has read yet would be lost with the last descriptor."""
        os.close(self._go)
        os.close(self._halted)


class Move:
    """One migration that was begun."""

    def __init__(self, agent: Host, target: str, number: str) -> None:
        self._agent = agent
        self.source = agent.name
        self.target = target
        self.number = number

    def record(self) -> dict[str, Any]:
        """As the source's agent has it now."""
        found: dict[str, Any] = self._agent.call("GET", f"/migrations/{self.number}")
        return found

    def until(self, what: str, met: Callable[[dict[str, Any]], object], limit_s: float = LIMIT_S) -> None:
        """Waits until the record is so."""
        wait_until(lambda: met(self.record()), f"{what} of {self.number[:8]}", limit_s)

    def until_step(self, step: str) -> None:
        """Waits until that step is under way."""
        self.until(f"step {step}", lambda record: record["step"] == step)

    def end(self, stage: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """Waits for its end, which must be this one."""
        self.until("the end", lambda record: record["stage"] in ENDS, limit_s)
        record = self.record()
        assert record["stage"] == stage, record["failure"]
        return record

    def cancel(self) -> None:
        """Raises Refused where it is too late."""
        self._agent.call("POST", f"/migrations/{self.number}/cancel")
