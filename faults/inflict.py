"""The faults themselves. Each gives back what ends it, or None where there was nothing to hit."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from faults.cases import DAEMON, Case
from faults.stage import LOCAL, Stage
from segue.lab import state

Heal = Callable[[], None]
FILLER: Final = f"{LOCAL}/filler"
GROUPS: Final = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)
"""Where the kernel's memory groups are, version 1 and 2."""
STARVED_BYTES: Final = 4 << 20
"""More than this the starved process gets no more, and is killed by the kernel."""


def inflict(stage: Stage, case: Case, source: str, target: str) -> Heal | None:
    """Does what the case says, between these hosts."""
    if case.fault == "cut":
        return _cut(stage, case.victim, source, target)
    if case.fault == "fill":
        return _fill(stage, target)
    pids = _pids(stage, case.victim, source, target)
    if not pids:
        return None
    if case.fault == "starve":
        return _starve(pids)
    number = signal.SIGKILL if case.fault == "kill" else signal.SIGSTOP
    _signal(pids, number)
    return lambda: _signal(pids, signal.SIGCONT) if number == signal.SIGSTOP else None


def _pids(stage: Stage, victim: str, source: str, target: str) -> list[int]:
    side, _, program = victim.partition(" ")
    host = source if side == "source" else target
    if program == "agent":
        with contextlib.suppress(OSError):
            return [stage.agent_pid(host)]
        return []
    if victim == DAEMON:
        return [pid for pid in stage.lab.host_pids(host) if _command(pid).startswith(b"qemu-storage-daemon")]
    return [qemu.pid for qemu in stage.census.on(host)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _cut(stage: Stage, way: str, source: str, target: str) -> Heal:
    """Both ways in the fabric; one way where the frames begin, so that the answers still come."""
    if way == "both ways":
        stage.lab.cut(f"{source}--{target}")
        return stage.lab.mend
    deaf, mute = (target, source) if way == "to target" else (source, target)
    address = state.need(stage.lab.places).node(deaf).address
    stage.run(mute, "sh", "-ec", _MUTE.format(address=address))
    return lambda: _unmute(stage, mute)


_MUTE: Final = """
nft add table ip rehearsal
nft add chain ip rehearsal out '{{ type filter hook output priority 0; }}'
nft add rule ip rehearsal out ip daddr {address} drop
"""


def _unmute(stage: Stage, host: str) -> None:
    stage.run(host, "nft", "destroy", "table", "ip", "rehearsal")


def _fill(stage: Stage, host: str) -> Heal:
    # Ends with "No space left on device", which is what is wanted.
    stage.lab.exec(host, ["dd", "if=/dev/zero", f"of={FILLER}", "bs=64k"])
    return lambda: _empty(stage, host)


def _empty(stage: Stage, host: str) -> None:
    stage.run(host, "rm", "-f", FILLER)


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
