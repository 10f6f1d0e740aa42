"""The memory that guests of this host take, or are about to take. It must never promise the same memory twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from segue.agent.keeper import Keeper
from segue.errors import Kind, Refused
from segue.model.guest import RunState
from segue.model.host import HostFacts


class Room:
    """What is promised on this host beside what runs."""

    def __init__(self) -> None:
        self._starting: list[str] = []

    def promised_bytes(self, keepers: Iterable[Keeper]) -> int:
        """Of guests that run, come in, are being started or crashed, and of those that were taken over and wait for
        their start."""
        return sum(keeper.guest_here().memory_bytes for keeper in keepers if self._takes(keeper))

    @asynccontextmanager
    async def kept(
        self, keeper: Keeper, placing: asyncio.Lock, facts: Callable[[], HostFacts]
    ) -> AsyncIterator[None]:
        """While it is being started; from then on it takes room by that it runs. placing: held while others look at
        the room and take it. Raises Refused where there is none left."""
        async with placing:
            self._demand(keeper, facts())
            self._starting.append(keeper.uuid)
        try:
            yield
        finally:
            self._starting.remove(keeper.uuid)

    def _demand(self, keeper: Keeper, facts: HostFacts) -> None:
        guest = keeper.guest_here()
        short = guest.memory_bytes - facts.memory_free_bytes
        if short > 0 and not self._takes(keeper):
            raise Refused(
                what=f"{guest.name} is not started",
                why=f"{facts.name} is {short / (1 << 30):.1f} GiB short of memory for it",
                todo="Move a guest away from there, or stop one.",
                kind=Kind.POLICY,
            )

    def _takes(self, keeper: Keeper) -> bool:
        if keeper.guest is None:
            return False
        is_off = keeper.state() is RunState.STOPPED and not keeper.resident.awaits_start
        return not is_off or keeper.uuid in self._starting
