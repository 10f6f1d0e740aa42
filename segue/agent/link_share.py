"""Gives each copy that leaves this host its share of the link, and a new one when another begins, ends or goes first.

While a guest stands, the copies of those that run stand back: its last pages and its devices' state have the link and
the processors of both hosts for themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from segue.adapters.qemu.monitor import QemuGone, QemuRefused
from segue.adapters.qemu.settings import TRICKLE
from segue.policy import share

log = structlog.get_logger()

TOLD_WITHIN_S: Final = 0.2
"""A copy whose QEMU does not answer holds no other one up for longer."""

Setter = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class _Copy:
    cap: int
    apply: Setter


class LinkShare:
    """The copies under way from this host. Bytes per second; 0 means no cap."""

    def __init__(self, budget_bytes_per_s: int) -> None:
        self._budget = budget_bytes_per_s
        self._copies: dict[str, _Copy] = {}
        self._told: dict[str, int] = {}
        self._first: set[str] = set()
        self._telling: set[asyncio.Task[None]] = set()

    def foreseen(self, cap: int) -> int:
        """What one more copy with this cap would get now."""
        caps = {name: copy.cap for name, copy in self._copies.items()}
        return share.shares(self._budget, {**caps, "": cap})[""]

    async def join(self, migration: str, cap: int, apply: Setter) -> None:
        """A copy begins, or an agent that was restarted finds it; `apply` caps it. Safe to repeat."""
        self._copies[migration] = _Copy(cap, apply)
        self._told.pop(migration, None)
        await _heard(self._divide())

    async def leave(self, migration: str) -> None:
        """A copy has ended, however it did. Safe to repeat."""
        self._copies.pop(migration, None)
        self._told.pop(migration, None)
        self._first.discard(migration)
        await _heard(self._divide())

    async def go_first(self, migration: str) -> None:
        """Its guest is about to stand: the others stand back until `give_way`. Safe to repeat."""
        self._first.add(migration)
        await _heard(self._divide())

    def give_way(self, migration: str) -> None:
        """It runs again, here or there, or soon will: the others go on, and nobody waits for that. Safe to repeat."""
        if migration in self._first:
            self._first.discard(migration)
            self._divide()

    def _divide(self) -> list[asyncio.Task[None]]:
        rates = share.shares(self._budget, {name: copy.cap for name, copy in self._copies.items()})
        if self._first:
            rates |= dict.fromkeys(rates.keys() - self._first, TRICKLE)
        changed = {name: rate for name, rate in rates.items() if self._told.get(name) != rate}
        self._told |= changed
        telling = [asyncio.create_task(self._tell(name, rate)) for name, rate in changed.items()]
        for task in telling:
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)
        return telling

    async def _tell(self, migration: str, rate: int) -> None:
        try:
            await self._copies[migration].apply(rate)
            log.info("share of the link", migration=migration, bytes_per_s=rate)
        except (KeyError, QemuGone, QemuRefused, TimeoutError) as error:
            # It ends just now, or its QEMU does; its own saga sees that. If not, it is told again with the next change.
            self._told.pop(migration, None)
            log.info("share not applied", migration=migration, error=repr(error))


async def _heard(telling: list[asyncio.Task[None]]) -> None:
    if telling:
        await asyncio.wait(telling, timeout=TOLD_WITHIN_S)
