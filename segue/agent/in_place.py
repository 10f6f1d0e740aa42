"""The engine's ports for a guest that changes its QEMU and stays on its host: guest, custody, and the peer that we are.

The same saga carries it out as a move between two hosts; what has no meaning on one host is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NoReturn

from segue.adapters import clock
from segue.adapters.qemu import in_place
from segue.agent import beside
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.agent.source import SourceGuest
from segue.errors import Aborted
from segue.model.arrival import Presence
from segue.model.handoff import HERE, Begin, BothComplete, Copy, GiveUp, Phase
from segue.model.integrity import Blocks, Digests
from segue.model.ladder import Shape
from segue.model.landing import Handed, Landing, Placement, Region
from segue.model.migration import Limits, Progress
from segue.model.notice import Arrival, Care
from segue.model.storage import DiskFile, DiskProgress, Layer

COPIED_ROUNDS = 2
"""Rounds after which a copy counts as one: all of the memory is where it is to be."""
LOOK_S = 0.5
RUNS_AGAIN_S = 0.2


class GuestInPlace(SourceGuest):
    """The guest in its old QEMU, with the new one beside it."""

    _succession: in_place.Succession | None = None

    async def secret(self, migration: str) -> str:
        """See engine/ports.py: nothing leaves this host."""
        return ""

    async def regions(self) -> tuple[Region, ...]:
        """See engine/ports.py."""
        return ()

    async def begin_copy(self, landing: Landing, limits: Limits, shape: Shape, *, gated: bool) -> None:
        """See engine/ports.py: the memory was handed over when the new QEMU was started."""
        old, new = self._keeper.machine, self._keeper.resident.beside
        if old is None or new is None:
            raise _alone(self._keeper)
        self._succession = in_place.Succession(old, new)
        await self._both().demand_held()

    def _both(self) -> in_place.Succession:
        if self._succession is None:
            raise _alone(self._keeper)
        return self._succession

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """See engine/ports.py."""
        begun_s, total = clock.steady_s(), self._keeper.guest_here().memory_bytes
        while True:
            await self._both().demand_held()
            yield Progress(COPIED_ROUNDS, total_bytes=total, elapsed_s=clock.steady_s() - begun_s)
            await asyncio.sleep(min(within_s, LOOK_S))

    async def ease(self) -> None:
        """See engine/ports.py."""

    async def go_first(self) -> None:
        """See engine/ports.py."""

    def give_way(self) -> None:
        """See engine/ports.py."""
        for machine in (self._keeper.machine, self._keeper.resident.beside):
            if machine is not None:
                machine.relax()

    async def look(self) -> float:
        """See engine/ports.py."""
        return 0.0

    async def sent(self, within_s: float) -> None:
        """See engine/ports.py."""
        await self._both().demand_held()

    def marks(self) -> tuple[tuple[str, float], ...]:
        """See engine/ports.py."""
        return self._both().marks()

    async def completed(self, within_s: float) -> bool:
        """See engine/ports.py."""
        await self._both().complete(within_s)
        return True

    async def cancel_copy(self) -> None:
        """See engine/ports.py."""
        if self._keeper.machine is not None and self.alive():
            await beside.let_go(self._keeper.machine)


class CustodyInPlace:
    """The token, which stays here and says which of the two may run."""

    def __init__(self, keeper: Keeper, migration: str) -> None:
        self._keeper = keeper
        self._migration = migration

    async def begin(self, target: str, migration: str) -> int:
        """See engine/ports.py."""
        token = self._keeper.token
        if token.phase is not Phase.OFFERED or token.migration != migration:
            await self._keeper.tell(Begin(HERE, migration))
        return self._keeper.token.epoch

    def released(self, migration: str) -> bool:
        """See engine/ports.py."""
        token = self._keeper.token
        return (token.phase, token.peer, token.migration) == (Phase.OWNER, HERE, migration)

    async def hand_over(self) -> Handed:
        """See engine/ports.py."""
        if not self.released(self._migration):
            delivery = await self._keeper.tell(BothComplete(self._migration))
            if delivery.resumed_at_s and self.released(self._migration):  # Else it goes on in the old one.
                marks = tuple(mark for mark in delivery.marks if mark[0] == Phase.OWNER.value)
                return Handed(returned=False, resumed_at_s=delivery.resumed_at_s, marks_here=marks)
        while self.released(self._migration):
            await self._keeper.resume_again()
            if self._keeper.copy() is not Copy.COMPLETE:
                break
            await asyncio.sleep(RUNS_AGAIN_S)
        machine = self._keeper.machine
        resumed_at_s = machine.resumed_at_s if machine is not None else 0.0
        return Handed(returned=not self.released(self._migration), resumed_at_s=resumed_at_s)

    async def give_up(self) -> None:
        """See engine/ports.py."""
        token = self._keeper.token
        if token.phase is Phase.OFFERED and token.migration == self._migration:
            await self._keeper.tell(GiveUp(self._migration))

    async def retire(self) -> None:
        """See engine/ports.py."""
        if self.released(self._migration):
            await self._keeper.succeed(self._migration)


class PeerInPlace:
    """Engine port `Peer`: what another host's agent would do, done by ourselves."""

    def __init__(self, services: Services, keeper: Keeper) -> None:
        self._services = services
        self._keeper = keeper

    async def awake(self, guest: str, migration: str) -> None:
        """See engine/ports.py."""
        if (second := self._keeper.resident.beside) is not None:
            second.hasten()

    async def place(self, placement: Placement) -> Landing:
        """See engine/ports.py."""
        resident = self._keeper.resident
        old = resident.machine
        if old is None or not old.alive():
            raise _alone(self._keeper)
        if resident.beside is None or not resident.beside.alive():
            resident.beside = await beside.start(self._services, old, placement.migration)
        return Landing(memory_address=str(resident.beside.places.devices), tunnel_address="")

    async def clock(self) -> tuple[float, float]:
        """See engine/ports.py: one host, one clock."""
        return 0.0, 0.0

    async def arrived(self, guest: str, arrival: Arrival) -> None:
        """See engine/ports.py."""
        self._services.care.begin(self._keeper, arrival)

    async def care(self, guest: str, migration: str, within_s: float) -> Care:
        """See engine/ports.py."""
        return await self._services.care.ended(guest, migration, within_s)

    async def settled(self, guest: str, migration: str) -> None:
        """See engine/ports.py: there is no tunnel."""

    async def digest(self, guest: str, blocks: Blocks, within_s: float) -> Digests:
        """See engine/ports.py."""
        _meaningless("it has one memory: there is nothing to compare")

    async def place_storage(self, placement: Placement) -> Landing:
        """See engine/ports.py."""
        _meaningless(DISKS)

    async def layers_sent(self, guest: str, migration: str, layers: tuple[Layer, ...]) -> None:
        """See engine/ports.py."""
        _meaningless(DISKS)

    async def pulled(self, guest: str) -> tuple[DiskProgress, bool]:
        """See engine/ports.py."""
        _meaningless(DISKS)

    async def close_storage(self, guest: str, migration: str) -> None:
        """See engine/ports.py."""
        _meaningless(DISKS)

    async def digest_disks(
        self, guest: str, migration: str, disks: tuple[DiskFile, ...], within_s: float
    ) -> dict[str, Digests]:
        """See engine/ports.py."""
        _meaningless(DISKS)

    async def arrival(self, guest: str, migration: str, loaded_within_s: float = 0.0) -> Presence:
        """See engine/ports.py."""
        _meaningless(MEMORY)

    async def reopen(self, guest: str, migration: str) -> str:
        """See engine/ports.py."""
        _meaningless(MEMORY)

    async def memory_lost(self, guest: str, migration: str) -> Presence:
        """See engine/ports.py."""
        _meaningless(MEMORY)


DISKS = "its disks stay where they are"
MEMORY = "its memory stays where it is"


def _meaningless(why: str) -> NoReturn:
    raise Aborted(
        what="this is not done for a guest that stays on its host",
        why=why,
        todo="Nothing is lost: the guest runs on. Report this as a bug.",
    )


def _alone(keeper: Keeper) -> Aborted:
    name = keeper.guest.name if keeper.guest is not None else keeper.uuid
    return Aborted(
        what=f"{name} stays in its QEMU",
        why="one of its two QEMUs has ended",
        todo=f"Look at `segue vm show {name}` and at QEMU's log on this host, then try again.",
    )
