"""The faults themselves. Each gives back what ends it, or None where there was nothing to hit."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from faults.app_stage import AppStage
from faults.cases import Case
from faults.stage import Stage

Heal = Callable[[], None]
GROUPS: Final = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
"""Where the kernel's memory groups are, version 1 and 2."""
STARVED_BYTES: Final = 4 << 20
"""More than this the starved process gets no more, and is killed by the kernel."""


def inflict(stage: Stage | AppStage, case: Case, source: str, target: str) -> Heal | None:
    """Does what the case says, between these hosts."""
    if case.fault == "cut":
        return stage.cut(case.victim, source, target)
    if case.fault == "fill":
        return stage.fill(target)
    side, _, program = case.victim.partition(" ")
    pids = stage.pids(source if side == "source" else target, program)
    if not pids:
        return None
    if case.fault == "starve":
        return _starve(pids)
    number = signal.SIGKILL if case.fault == "kill" else signal.SIGSTOP
    _signal(pids, number)
    return lambda: _signal(pids, signal.SIGCONT) if number == signal.SIGSTOP else None


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _starve(pids: list[int]) -> Heal | None:
    """A memory group of its own, whose limit is reached with the next pages that it needs."""
    found = next(((top, key) for top, key in GROUPS if (top / "cgroup.procs").exists()), None)
    if found is None:
        return None
    top, key = found
    group = top / f"segue-rehearsal-{os.getpid()}"
    group.mkdir(exist_ok=True)
    (group / key).write_text(str(STARVED_BYTES))
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid))
    return lambda: _feed(top, group, key)


def _feed(top: Path, group: Path, key: str) -> None:
    """Whoever survived has memory again."""
    (group / key).write_text("-1" if key.endswith("in_bytes") else "max")
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (top / "cgroup.procs").write_text(pid)
    with contextlib.suppress(OSError):
        group.rmdir()
