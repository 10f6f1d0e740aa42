"""How soon the kernel gives a process a processor: its niceness, and that of its session.

Where the kernel groups tasks by session (`kernel.sched_autogroup_enabled`, on in Debian's), a niceness counts only
among the tasks of one session, and sessions are weighed by one of their own: sched(7). So both are set.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

NORMAL: Final = 0


def own() -> int:
    """The niceness that the agent was started with: -20 (first) to 19 (last)."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def of(pid: int) -> int:
    """A process's niceness; the normal one for a process that has ended."""
    try:
        return os.getpriority(os.PRIO_PROCESS, pid)
    except ProcessLookupError:
        return NORMAL


def mind_session() -> None:
    """Ours is weighed as we are, where we were started to go first."""
    if own() < NORMAL:
        give(os.getpid(), own())


def give(pid: int, niceness: int) -> None:
    """Sets that of each thread and of the session, which should be the process's own. Raises nothing.

    What the kernel does not allow is left as it is: without it a pause is longer, nothing else.
    """
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):  # It ended just now.
                os.setpriority(os.PRIO_PROCESS, int(thread), niceness)
    with contextlib.suppress(OSError):  # This kernel has no such groups, or a cgroup of its own weighs it.
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
