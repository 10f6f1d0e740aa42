"""What is so, whatever anybody believes: the hosts, the time, the log, and what the checkers found wrong."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from segue.adapters import chance, clock, sight
from segue.sim import loop as virtual
from segue.sim.loop import Process, VirtualLoop

if TYPE_CHECKING:
    from segue.sim.checkers import Checkers
    from segue.sim.fabric import Fabric
    from segue.sim.host import SimHost

BEGINS_S: Final = 1_800_000_000.0
"""Seconds since 1970 at which every rehearsal begins."""
LEFT_OUT: Final = frozenset({"exc_info", "level", "event", "logger"})


@dataclass(frozen=True)
class Load:
    """What a guest does to its memory, and to processors."""

    dirty_bytes_per_s: float = 0.0
    working_set_bytes: int = 64 << 20
    cpu_cores: float = 0.0
    """What it uses of processors,"""
    tide_s: float = 0.0
    """for so long; then a tenth of it for as long. 0: always."""


@dataclass(frozen=True)
class Wrong:
    """A promise that was broken: which, when, how."""

    promise: str
    at_s: float
    why: str

    def __str__(self) -> str:
        return f"{self.at_s:9.3f}  BROKEN: {self.promise}: {self.why}"


class NodeClock:
    """The clocks of one machine: the wall clock can be wrong, and jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.off_s = 0.0

    def wall_s(self) -> float:
        """Seconds since 1970, as this machine has it."""
        return BEGINS_S + self._loop.time() + self.off_s

    def steady_s(self) -> float:
        """Seconds that only grow."""
        return self._loop.time()


@dataclass
class World:
    """One rehearsal."""

    seed: str
    loop: VirtualLoop = field(default_factory=VirtualLoop)
    thread: int = field(default_factory=threading.get_ident)
    lines: list[str] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)
    hosts: dict[str, SimHost] = field(default_factory=dict)
    latest: dict[str, int] = field(default_factory=dict)
    """Guest (its uuid) -> the memory with which it ran last: no other may ever run on."""
    killed: set[str] = field(default_factory=set)
    """Guests whose QEMU was lost to a fault: they need somebody to start them from disk."""
    idle: set[str] = field(default_factory=set)
    """Guests that were in no state to be saved when a host died for good: what becomes of them is nobody's promise."""
    may_have_run: set[str] = field(default_factory=set)
    """Guests whose QEMU died while it was told to run: their agents cannot know whether it did."""
    blackouts_s: dict[str, float] = field(default_factory=dict)
    """Guest (its name) -> the longest time that it stood."""
    names: dict[str, str] = field(default_factory=dict)
    """Guest (its uuid) -> its name."""
    loads: dict[str, Load] = field(default_factory=dict)
    """Guest (its name) -> what it does."""
    fabric: Fabric = field(init=False)
    checkers: Checkers = field(init=False)
    script_s: dict[str, float] = field(default_factory=dict)
    """Of a maintenance: script -> how long it takes, where that is foreseen."""
    reboot_s: float = 0.0
    """The same for reboots; 0: the usual time."""
    contents: int = 0
    is_proved: Callable[[str], bool] = lambda host: False
    """Whether the controllers' store has a proof that this host is off."""

    def __post_init__(self) -> None:
        self.bmcs = self.stream("bmcs")

    def stream(self, name: str) -> random.Random:
        """Chance for one purpose: another purpose that asks more often changes nothing here."""
        return random.Random(f"{self.seed}/{name}")

    def process(self, name: str, ticks: NodeClock) -> Process:
        """A new one, with this machine's clock and chance of its own."""
        made = Process(name)
        made.context.run(clock.give, ticks)
        made.context.run(sight.give, partial(self.fabric.look, name))
        made.context.run(chance.give, self.stream(f"{name}/{len(self.lines)}/{self.loop.time()}"))
        return made

    def say(self, who: str, what: str) -> None:
        """One line of the log."""
        self.lines.append(f"{self.loop.time():9.3f}  {who:<8}  {what}")

    def broken(self, promise: str, why: str) -> None:
        """A checker found something."""
        found = Wrong(promise, self.loop.time(), why)
        self.wrong.append(found)
        self.lines.append(str(found))

    def new_content(self) -> int:
        """What is in the memory of a guest that runs is never the same again."""
        self.contents += 1
        return self.contents

    def hear(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
        """For structlog: what our own programs log goes into this world's log; threads of others have another."""
        if threading.get_ident() != self.thread:
            raise structlog.DropEvent
        process = virtual.current()
        facts = " ".join(f"{key}={event[key]}" for key in event if key not in LEFT_OUT)
        if (error := event.get("exc_info")) is not None:
            facts += f" {error!r}"
        mark = "" if method in {"info", "debug"} else f"{method}: "
        self.say(process.name if process else "world", f"{mark}{event['event']} {facts}".rstrip())
        raise structlog.DropEvent
