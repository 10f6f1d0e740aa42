"""Watches a guest's QEMU processes through the kernel alone; it must never believe what an agent says.

A copy runs when its vCPU thread is given processor time. The sum of that time never falls, so whatever happens
between two looks is not missed, only dated a little late.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from segue.lab import processes

LOOK_S: Final = 0.005
LIST_S: Final = 0.1
"""A copy runs long after its process was made."""
YOUNG_S: Final = 3.0
"""A new process is looked at again for this long: it may still become QEMU."""
NOISE_NS: Final = 2_000_000
NOISE_LOOKS: Final = 8
TOUCH_NS: Final = 50_000
"""A paused copy's vCPU thread is woken when it is made and when it loads its state: 0.6 ms in all, within six
looks. A running one gets more than TOUCH_NS between any two looks. Looks are counted too, because a machine
that is itself virtual may book the time in which it stood still to whoever had the processor."""
PF_EXITING: Final = 0x4  # linux/sched.h
VCPU: Final = "CPU 0/TCG"


@dataclass
class Qemu:
    """One QEMU process, and how much its vCPU had run at each look."""

    pid: int
    host: str
    samples: list[tuple[float, int]] = field(default_factory=list)
    _thread: tuple[int, int] | None = None
    """Its vCPU's schedstat and stat, kept open: what is opened 200 times a second is a load of its own."""

    def __str__(self) -> str:
        return f"QEMU {self.pid} on {self.host}"

    def look(self) -> None:
        """One more sample; OSError once the process has ended."""
        self._thread = self._thread or _vcpu_of(self.pid)
        if self._thread:
            ran, stat = (os.pread(file, 512, 0) for file in self._thread)
            # An ending thread may take the whole memory apart, which is booked to it but is not the guest's work.
            if not _is_ending(stat):
                self.samples.append((time.monotonic(), int(ran.split()[0])))

    def close(self) -> None:
        """Nobody looks at it any more."""
        for file in self._thread or ():
            os.close(file)
        self._thread = None

    def span(self) -> tuple[float, float] | None:
        """(it surely ran before this, it surely ran after this); None for a copy that never ran."""
        steps = [(when, ran - before) for (_, before), (when, ran) in pairwise(self.samples)]
        begun, ended = _past_noise(steps), _past_noise(steps[::-1])
        return None if begun is None or ended is None else (begun, ended)

    def runs(self) -> bool:
        """Whether its vCPU was given time within the last looks."""
        recent = self.samples[-50:]
        return len(recent) > 1 and recent[-1][1] - recent[0][1] > NOISE_NS


class Census(threading.Thread):
    """Looks all the time at the QEMU processes of one guest in one lab, until told to stop."""

    def __init__(self, top: Path, guest: str) -> None:
        super().__init__(name="census", daemon=True)
        self._mark = processes.mark(top, "")
        self._uuid = guest.encode()
        self._lock = threading.Lock()
        self._known: dict[int, Qemu] = {}
        self._gone: list[Qemu] = []
        self._first_seen: dict[int, float] = {}
        self._listed_s = 0.0
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(LOOK_S):
            with self._lock:
                self._look()

    def stop(self) -> None:
        """Ends the watch."""
        self._done.set()
        self.join()
        for qemu in self._known.values():
            qemu.close()

    def begin(self) -> None:
        """A new case: what was seen before is judged already."""
        with self._lock:
            self._gone.clear()
            for qemu in self._known.values():
                del qemu.samples[:-1]

    def alive(self) -> list[Qemu]:
        """The guest's processes at this moment."""
        with self._lock:
            self._listed_s = 0.0
            self._look()
            return list(self._known.values())

    def on(self, host: str) -> list[Qemu]:
        """Those of one host."""
        return [qemu for qemu in self.alive() if qemu.host == host]

    def overlaps(self) -> list[str]:
        """Every pair of copies of which the elder still ran when the younger had begun to."""
        with self._lock:
            every = [qemu for qemu in (*self._gone, *self._known.values()) if qemu.samples]
        spans = sorted((span, str(qemu)) for qemu in every if (span := qemu.span()) is not None)
        return [
            f"{elder} still ran {1e3 * (ended - begun):.1f} ms after {younger} had begun"
            for number, ((_, ended), elder) in enumerate(spans)
            for (begun, _), younger in spans[number + 1 :]
            if begun < ended
        ]

    def _look(self) -> None:
        if time.monotonic() - self._listed_s > LIST_S:
            self._listed_s = time.monotonic()
            for pid in list(self._new_ones()):
                self._known[pid] = Qemu(pid, self._host_of(pid))
        for qemu in list(self._known.values()):
            try:
                qemu.look()
            except OSError:
                qemu.close()
                self._gone.append(self._known.pop(qemu.pid))

    def _new_ones(self) -> Iterator[int]:
        now = time.monotonic()
        pids = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        self._first_seen = {pid: self._first_seen.get(pid, now) for pid in pids}
        for pid, seen in self._first_seen.items():
            if pid not in self._known and now - seen < YOUNG_S and self._is_ours(pid):
                yield pid

    def _is_ours(self, pid: int) -> bool:
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            return command.startswith(b"qemu-system") and self._uuid in command and bool(self._host_of(pid))
        except OSError:
            return False

    def _host_of(self, pid: int) -> str:
        """The machine of our lab in which the process was started; empty for any other."""
        wanted = f"{processes.MARK}={self._mark}".encode()
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return next((word.removeprefix(wanted).decode() for word in environ if word.startswith(wanted)), "")


def _past_noise(steps: Iterable[tuple[float, int]]) -> float | None:
    """When more had been run than a paused copy ever does."""
    sum_ns = looks = 0
    for when, step_ns in steps:
        sum_ns += step_ns
        looks += step_ns > TOUCH_NS
        if sum_ns > NOISE_NS and looks > NOISE_LOOKS:
            return when
    return None


def _is_ending(stat: bytes) -> bool:
    return bool(int(stat.rpartition(b")")[2].split()[6]) & PF_EXITING)


def _vcpu_of(pid: int) -> tuple[int, int] | None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == VCPU:
            schedstat = os.open(task / "schedstat", os.O_RDONLY)
            try:
                return schedstat, os.open(task / "stat", os.O_RDONLY)
            except OSError:
                os.close(schedstat)
                raise
    return None
