"""The audit in the long run: a file to which every line is appended, and a store that keeps the newest ones alone.

It must never change a line, and never drop one from the store that is younger than what may be dropped.
"""

from __future__ import annotations

import asyncio
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import pruning
from segue.controller.calm import CalmClock
from segue.controller.mirror import Mirror
from segue.engine.store import Store
from segue.errors import SegueError
from segue.model.store import Fence

log = structlog.get_logger()
LINES_MOST: Final = 10_000
AGE_MOST_S: Final = 90 * 86400.0
PRUNE_S: Final = 30.0
LOOK_S: Final = 5.0
TAIL_BYTES: Final = 16 << 20
"""Of the file, looked at after a start: more than the store's lines have."""


async def prune(store: Store, mirror: Mirror, fence: Fence, *, by_age: bool = True) -> int:
    """By the leader: lines beyond the number, and those that are too old, oldest first. How many went. by_age: this
    machine's clock may say what is old."""
    table = mirror.audit.items()
    names = sorted(table)
    too_many = max(0, len(names) - LINES_MOST)
    oldest_s = clock.wall_s() - AGE_MOST_S if by_age else -math.inf
    going = [
        table[name].entry
        for number, name in enumerate(names)
        if number < too_many or table[name].value.time_s < oldest_s
    ]
    return await pruning.drop(store, mirror, going, fence)


async def keep_pruned(store: Store, mirror: Mirror, fence: Fence) -> None:
    """For as long as the tenure lasts."""
    calm = CalmClock()
    while True:
        try:
            if gone := await prune(store, mirror, fence, by_age=calm.lasts()):
                log.info("old lines of the audit went from the store", lines=gone)
        except SegueError as error:
            log.warning("the audit is not pruned yet", why=str(error))
        await asyncio.sleep(PRUNE_S)


async def write(mirror: Mirror, path: Path) -> None:
    """For as long as the controller lives: every line that the store gets is appended, once."""
    written = await asyncio.to_thread(_written, path)
    while True:
        table = mirror.audit.items()
        new = [name for name in sorted(table) if name not in written]
        if new:
            lines = [msgspec.json.encode({"id": name, **asdict(table[name].value)}) for name in new]
            try:
                await asyncio.to_thread(_append, path, b"".join(line + b"\n" for line in lines))
                written.update(new)
            except OSError as error:
                log.error("the audit is not in its file", path=str(path), why=str(error))
        written.intersection_update(table)
        await mirror.change(LOOK_S)


def _append(path: Path, lines: bytes) -> None:
    """Opened anew each time, so that the file may be moved away; on the disk when it returns."""
    made = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(made, lines)
        os.fsync(made)
    finally:
        os.close(made)


def _written(path: Path) -> set[str]:
    """Ids of the last lines. A half line at the end is what a crash left of one: it is written again."""
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            content = file.read()
            if content and not content.endswith(b"\n"):
                file.seek(size - len(content) + content.rfind(b"\n") + 1)
                file.truncate()
    except FileNotFoundError:
        return set()
    found = set()
    for line in content.splitlines():
        try:
            found.add(str(msgspec.json.decode(line)["id"]))
        except (msgspec.MsgspecError, KeyError, TypeError):
            continue
    return found
