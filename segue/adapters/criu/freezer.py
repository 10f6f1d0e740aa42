"""Freezes and thaws the processes of a container by their cgroup (version 2); whether it may, others decide."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

LOOK_S = 0.001
LIMIT_S = 5.0


def is_frozen(cgroup: Path) -> bool:
    """True once every process of the cgroup stands."""
    return "frozen 1" in (cgroup / "cgroup.events").read_text().splitlines()


async def freeze(cgroup: Path, within_s: float = LIMIT_S) -> None:
    """Returns when all stand. Raises TimeoutError where one does not (it may wait for a disk); all are let go again."""
    set_frozen(cgroup, frozen=True)
    try:
        async with asyncio.timeout(within_s):
            while not is_frozen(cgroup):
                await asyncio.sleep(LOOK_S)
    except TimeoutError:
        set_frozen(cgroup, frozen=False)
        raise


def set_frozen(cgroup: Path, *, frozen: bool) -> None:
    """Says so, and does not wait."""
    (cgroup / "cgroup.freeze").write_text("1" if frozen else "0")


def kill(cgroup: Path) -> None:
    """Ends everything in it, frozen or not; what is not there has nothing in it."""
    with contextlib.suppress(FileNotFoundError):
        (cgroup / "cgroup.kill").write_text("1")
