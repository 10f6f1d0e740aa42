"""The source's half of an application's move, as the engine's ports want it: CRIU takes it and holds it.

The files go in rounds while it runs; its memory while it stands.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from segue.adapters import clock
from segue.adapters.criu import memory
from segue.adapters.criu.departure import Departure
from segue.agent import app_move
from segue.agent.keeper import Keeper
from segue.agent.resident_app import AppResident
from segue.agent.services import Services
from segue.errors import Aborted
from segue.model.arrival import Serving
from segue.model.integrity import Blocks, Digests
from segue.model.ladder import Shape
from segue.model.landing import Landing, Region
from segue.model.migration import Limits, Progress

PAUSE_S = 0.2
"""Between two rounds: a look at all its files and memory costs the host something, too."""
LOOK_S = 1.0
"""A look at its memory that takes longer is not taken once more just before it stands."""


class SourceApp:
    """Fits the engine's `GuestHere`."""

    def __init__(self, services: Services, keeper: Keeper) -> None:
        self._services = services
        self._keeper = keeper

    def alive(self) -> bool:
        """False once its container has ended."""
        body = self._keeper.body
        return body is not None and body.alive()

    @property
    def _resident(self) -> AppResident:
        assert isinstance(self._keeper.resident, AppResident)
        return self._keeper.resident

    def _departure(self) -> Departure:
        if self._resident.departure is None or not self.alive():
            raise Aborted(
                what="the application cannot be moved any more",
                why="it ended on the source, or its copy was broken off with the agent",
                todo="Look at it with `segue app show`, then try again.",
            )
        return self._resident.departure

    async def secret(self, migration: str) -> str:
        """See engine/ports.py."""
        return self._services.protection.secret(self._keeper.guest_here(), migration)

    async def regions(self) -> tuple[Region, ...]:
        """See engine/ports.py."""
        return ()

    async def begin_copy(self, landing: Landing, limits: Limits, shape: Shape, *, gated: bool) -> None:
        """See engine/ports.py: connected, with room for the images on both sides."""
        guest = self._keeper.guest_here()
        secret = await self.secret(self._keeper.token.migration)
        await self._resident.memory_in_place()
        self._resident.departure = app_move.departure(self._services, guest)
        try:
            await self._departure().begin(landing.memory_address, secret, guest.memory_bytes)
        except (OSError, TimeoutError) as error:
            raise _not_begun(guest.name, error) from error

    async def throttle(self, slowdown: float) -> None:
        """See engine/ports.py: nothing slows an application down."""

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """See engine/ports.py: rounds of its files and of its memory."""
        begun_s = last_s = clock.steady_s()
        number = sent = 0
        while True:
            changed = await self._departure().round()
            now_s = clock.steady_s()
            number, sent = number + 1, sent + changed
            yield Progress(
                round=number,
                total_bytes=sent,
                # What a round found is what is changed again during the next, and so the last one's measure.
                remaining_bytes=changed if number > 1 else 0,
                transferred_bytes=sent,
                copied_bytes=sent,
                dirty_bytes_per_s=changed / max(now_s - last_s, 0.001) if number > 1 else 0.0,
                link_bytes_per_s=self._departure().speed_bytes_per_s,
                elapsed_s=now_s - begun_s,
            )
            last_s = now_s
            await asyncio.sleep(min(PAUSE_S, within_s))

    async def ease(self) -> None:
        """See engine/ports.py."""

    async def go_first(self) -> None:
        """See engine/ports.py."""

    def give_way(self) -> None:
        """See engine/ports.py."""

    async def look(self) -> float:
        """See engine/ports.py."""
        self._departure()
        return 0.0

    async def sent(self, within_s: float) -> None:
        """See engine/ports.py: one more round, so that the last one finds next to nothing."""
        departure = self._departure()
        async with asyncio.timeout(within_s):
            await departure.round(files_only=departure.round_s > LOOK_S)

    async def stop(self) -> float:
        """See engine/ports.py."""
        return await self._departure().freeze()

    def marks(self) -> tuple[tuple[str, float], ...]:
        """See engine/ports.py."""
        departure = self._resident.departure
        return tuple(departure.marks) if departure is not None else ()

    async def at_gate(self, within_s: float) -> None:
        """See engine/ports.py: it has no disks."""

    async def pass_gate(self) -> None:
        """See engine/ports.py."""

    async def completed(self, within_s: float) -> bool:
        """See engine/ports.py: dumped here, restored there, and held on both hosts."""
        departure, until_s = self._departure(), clock.steady_s() + within_s
        async with asyncio.timeout(within_s):
            await departure.dump()
        self._services.failpoints.hit("dumped")
        await departure.restored(max(until_s - clock.steady_s(), 0.001))
        self._services.failpoints.hit("restored there")
        return True

    async def arm_post_copy(self) -> None:
        """See engine/ports.py: refused before it was begun."""
        raise _only_machines()

    async def serve_all(self, bytes_per_s: int, address: str) -> None:
        """See engine/ports.py."""
        raise _only_machines()

    async def serving(self) -> Serving:
        """See engine/ports.py."""
        raise _only_machines()

    async def let_go(self) -> None:
        """See engine/ports.py."""
        raise _only_machines()

    async def reconnect(self, address: str) -> bool:
        """See engine/ports.py."""
        raise _only_machines()

    async def cancel_copy(self) -> None:
        """See engine/ports.py. One that stands is let go by its keeper, once its frames come here again."""
        resident = self._resident
        if resident.departure is None:
            return
        if resident.departure.stands:
            await resident.departure.settle_down()
            return
        departure, resident.departure = resident.departure, None
        await departure.undo()

    async def sample(self, pages: int) -> tuple[int, ...]:
        """See engine/ports.py."""
        return await asyncio.to_thread(memory.sample, self._cgroup(), pages)

    async def extent(self, block_bytes: int) -> tuple[int, ...]:
        """See engine/ports.py."""
        return await asyncio.to_thread(memory.extent, self._cgroup(), block_bytes)

    async def digest(self, blocks: Blocks) -> Digests:
        """See engine/ports.py."""
        return await self._departure().digest(blocks)

    def _cgroup(self) -> Path:
        return self._services.apps.places(self._keeper.guest_here()).cgroup


def _only_machines() -> Aborted:
    return Aborted(
        what="this is not done with an application",
        why="only a machine's memory can follow it or be compared page by page",
        todo="Move it without that.",
    )


def _not_begun(name: str, error: Exception) -> Aborted:
    return Aborted(
        what=f"{name} was not moved",
        why=f"its copy could not be begun: {error or type(error).__name__}",
        todo="Look at the free memory of both hosts and at the link between them, then try again.",
    )
