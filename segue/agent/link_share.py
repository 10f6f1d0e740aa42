"""Gives each copy that leaves this host its share of the link, and a new one when another begins or ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from segue.adapters.qemu.monitor import QemuGone, QemuRefused
from segue.policy import share

log = structlog.get_logger()

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

    def foreseen(self, cap: int) -> int:
        """What one more copy with this cap would get now."""
        caps = {name: copy.cap for name, copy in self._copies.items()}
        return share.shares(self._budget, {**caps, "": cap})[""]

    async def join(self, migration: str, cap: int, apply: Setter) -> None:
        """A copy begins; `apply` caps it. Safe to repeat."""
        self._copies[migration] = _Copy(cap, apply)
        await self._divide()

    async def leave(self, migration: str) -> None:
        """A copy has ended, however it did. Safe to repeat."""
        if self._copies.pop(migration, None) is not None:
            await self._divide()

    async def _divide(self) -> None:
        if not self._budget:
            return
        for migration, rate in share.shares(
            self._budget, {name: copy.cap for name, copy in self._copies.items()}
        ).items():
            try:
                await self._copies[migration].apply(rate)
                log.info("share of the link", migration=migration, bytes_per_s=rate)
            except (KeyError, QemuGone, QemuRefused, TimeoutError) as error:
                # It ends just now, or its QEMU does; its own saga sees that.
                log.info("share not applied", migration=migration, error=repr(error))
