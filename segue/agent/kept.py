"""Disks that guests left behind when they moved: kept for a grace time, then deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from segue.adapters import clock
from segue.adapters.store.disks import DiskNotes, KeptDisk

log = structlog.get_logger()

SWEEP_S = 10.0


async def sweep(notes: DiskNotes) -> None:
    """Deletes what is over, for as long as the agent lives."""
    while True:
        delete_old(notes, clock.wall_s())
        await asyncio.sleep(SWEEP_S)


def delete_old(notes: DiskNotes, now_s: float) -> list[KeptDisk]:
    """Deletes what is over; what it was."""
    over = [disk for disk in notes.kept() if disk.until_s <= now_s]
    for disk in over:
        Path(disk.path).unlink(missing_ok=True)
        notes.gone(disk.path)
        log.info("a disk that was left behind is deleted", path=disk.path, guest=disk.guest)
    return over
