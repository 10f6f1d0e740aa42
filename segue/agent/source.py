"""The source's half of a migration, as the engine's ports want it: guest and custody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from segue.adapters import clock
from segue.adapters.net import connections
from segue.adapters.qemu import address_map
from segue.adapters.qemu.credentials import Endpoint
from segue.adapters.qemu.memory import MemoryCopy
from segue.adapters.qemu.monitor import QemuGone
from segue.adapters.qemu.postcopy import PageServer
from segue.agent import verification
from segue.agent.channels import Protection
from segue.agent.keeper import Keeper
from segue.agent.link_share import LinkShare
from segue.agent.services import Services
from segue.errors import Aborted, SegueError
from segue.model.arrival import Flow, Serving
from segue.model.handoff import Begin, BothComplete, Confirm, GiveUp, Grant, Phase
from segue.model.integrity import Blocks, Digests
from segue.model.ladder import Shape
from segue.model.landing import Handed, Landing, Region
from segue.model.migration import Limits, Progress
from segue.wire.messages import unpack

GRANT_S = 1.0
"""One try to deliver the grant; a lost one is sent again as often as needed."""
DOUBT_S = 5.0
"""After this long without an answer to the grant people are told."""


class SourceGuest:
    """The running QEMU of the guest that leaves."""

    def __init__(self, keeper: Keeper, protection: Protection, share: LinkShare) -> None:
        self._keeper = keeper
        self._protection = protection
        self._share = share
        self._copy: MemoryCopy | None = None
        self._server: PageServer | None = None
        self._address = ""

    def alive(self) -> bool:
        """False once its QEMU has ended, or the guest shut itself down or crashed."""
        machine = self._keeper.machine
        return machine is not None and machine.alive() and not machine.is_over

    def _memory(self) -> MemoryCopy:
        machine = self._keeper.machine
        if machine is None or not self.alive():
            raise Aborted(
                what="the guest cannot be moved any more",
                why="it ended on the source while it was being copied",
                todo="Look why it ended with `segue vm show`, and start it again.",
            )
        if self._copy is None:
            self._copy = MemoryCopy(machine)
        return self._copy

    async def secret(self, migration: str) -> str:
        """See engine/ports.py."""
        return self._protection.secret(self._keeper.guest_here(), migration)

    async def regions(self) -> tuple[Region, ...]:
        """See engine/ports.py."""
        machine = self._keeper.machine
        if machine is None or not self.alive():
            return ()
        try:
            return await address_map.read(machine.monitor)
        except QemuGone:
            return ()  # Whoever begins the copy says so.

    async def begin_copy(self, landing: Landing, limits: Limits, shape: Shape, *, gated: bool) -> None:
        """See engine/ports.py."""
        copy, keeper = self._memory(), self._keeper
        machine = keeper.resident.machine
        assert machine is not None
        creds = await self._protection.offer(
            machine.monitor, keeper.guest_here(), keeper.token.migration, Endpoint.CLIENT
        )
        self._address = landing.memory_address
        await copy.begin(landing, limits, shape, creds, gated=gated)
        await self._share.join(keeper.token.migration, limits.bandwidth_bytes_per_s, copy.bandwidth)

    async def throttle(self, slowdown: float) -> None:
        """See engine/ports.py."""
        await self._memory().throttle(slowdown)

    async def rounds(self, within_s: float) -> AsyncIterator[Progress]:
        """See engine/ports.py."""
        hurried = 0
        try:
            async for sample in self._memory().rounds(within_s):
                hurried = hurried or self._hurry()
                self._memory()
                yield sample
        except QemuGone:
            self._memory()
            raise

    def _hurry(self) -> int:
        """Once the copy's connections are there."""
        machine = self._keeper.machine
        assert machine is not None
        return connections.hurry(machine.pid, *_place(self._address))

    async def ease(self) -> None:
        """See engine/ports.py."""
        await self._memory().ease()

    async def go_first(self) -> None:
        """See engine/ports.py."""
        await self._share.go_first(self._keeper.token.migration)

    def give_way(self) -> None:
        """See engine/ports.py."""
        if (machine := self._keeper.machine) is not None:
            machine.relax()
        self._share.give_way(self._keeper.token.migration)

    async def look(self) -> float:
        """See engine/ports.py."""
        return await self._memory().look()

    async def sent(self, within_s: float) -> None:
        """See engine/ports.py."""
        await self._memory().sent(within_s)

    async def stop(self) -> float:
        """See engine/ports.py."""
        self._memory()
        machine = self._keeper.machine
        assert machine is not None
        machine.hasten()  # Not sooner: a guest that writes all it can would write more of what it has to wait for.
        return await machine.stop()

    def marks(self) -> tuple[tuple[str, float], ...]:
        """See engine/ports.py."""
        return self._memory().marks()

    async def at_gate(self, within_s: float) -> None:
        """See engine/ports.py."""
        await self._memory().at_gate(within_s)

    async def pass_gate(self) -> None:
        """See engine/ports.py."""
        await self._memory().pass_gate()

    async def completed(self, within_s: float) -> bool:
        """See engine/ports.py."""
        if await self._memory().completed(within_s):
            return True
        self._hurry()  # The connection for pages that are waited for is new.
        return False

    async def arm_post_copy(self) -> None:
        """See engine/ports.py."""
        await self._memory().arm()

    def _pages(self) -> PageServer:
        machine = self._keeper.machine
        if machine is None:
            if self._keeper.resident.deaf:
                raise TimeoutError("the source's QEMU does not answer")
            raise QemuGone("the source's QEMU has ended")
        if self._server is None:
            self._server = PageServer(machine)
        return self._server

    async def serve_all(self, bytes_per_s: int, address: str) -> None:
        """See engine/ports.py. Of a QEMU that has ended `serving` tells."""
        with contextlib.suppress(QemuGone, FileNotFoundError):
            await self._pages().serve_all(bytes_per_s)
            if self._keeper.machine is not None:
                connections.pace(self._keeper.machine.pid, *_place(address), bytes_per_s)

    async def serving(self) -> Serving:
        """See engine/ports.py."""
        try:
            return await self._pages().serving()
        except QemuGone:
            return Serving(Flow.GONE)

    async def let_go(self) -> None:
        """See engine/ports.py."""
        await self._pages().pause()

    async def reconnect(self, address: str) -> bool:
        """See engine/ports.py."""
        return await self._pages().reconnect(address)

    async def cancel_copy(self) -> None:
        """See engine/ports.py."""
        if self.alive():
            await self._memory().cancel()

    async def sample(self, pages: int) -> tuple[int, ...]:
        """See engine/ports.py."""
        self._memory()
        assert self._keeper.machine is not None
        return await verification.choose(self._keeper.machine, pages)

    async def extent(self, block_bytes: int) -> tuple[int, ...]:
        """See engine/ports.py: one piece."""
        return ()

    async def digest(self, blocks: Blocks) -> Digests:
        """See engine/ports.py."""
        self._memory()
        assert self._keeper.machine is not None
        return await verification.digest(self._keeper.machine, blocks)


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


class SourceCustody:
    """The guest's token, and the exchange that passes it on."""

    def __init__(
        self,
        services: Services,
        keeper: Keeper,
        target: str,
        migration: str,
        doubt: Callable[[str], None],
        *,
        cold: bool = False,
    ) -> None:
        self._cold = cold
        self._services = services
        self._keeper = keeper
        self._target = target
        self._migration = migration
        self._doubt = doubt
        self._marks: tuple[tuple[str, float], ...] = ()

    async def begin(self, target: str, migration: str) -> int:
        """See engine/ports.py."""
        token = self._keeper.token
        if token.phase is not Phase.OFFERED or token.migration != migration:
            await self._keeper.tell(Begin(target, migration, cold=self._cold))
        return self._keeper.token.epoch

    def released(self, migration: str) -> bool:
        """See engine/ports.py."""
        token = self._keeper.token
        return token.migration == migration and token.phase in {Phase.RELEASED, Phase.ABSENT}

    async def hand_over(self) -> Handed:
        """See engine/ports.py."""
        if not self.released(self._migration):
            self._demand_this_boot()
            await self._keeper.release(BothComplete(self._migration, cold=self._cold))
            self._marks = (("released", clock.wall_s()),)
        begun_s = clock.steady_s()
        pause_s = 0.05
        while True:
            if (handed := await self._try_grant()) is not None:
                return handed
            if clock.steady_s() - begun_s > DOUBT_S:
                self._doubt(self._target)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, 2.0)

    def _demand_this_boot(self) -> None:
        """What crashed before its host had no power may have been taken over since. Raises Aborted."""
        guest = self._keeper.guest_here()
        if self._cold and not self._services.journal.ran_since_boot(guest.name):
            raise Aborted(
                what=f"{guest.name} is not given to {self._target}",
                why="its host had no power, or no lease, since it crashed: it may live elsewhere",
                todo=f"Look where it is: `segue vm show {guest.name}`.",
            )

    async def _try_grant(self) -> Handed | None:
        """One grant. None where no answer came; the journal then still says `released`."""
        keeper = self._keeper
        token = keeper.token
        if keeper.confirmed_at_s or token.phase is Phase.ABSENT:
            return Handed(returned=False, resumed_at_s=keeper.confirmed_at_s)
        if token.phase is not Phase.RELEASED:
            return Handed(returned=True)
        grant = Grant(token.epoch, token.migration)
        try:
            peer = self._services.peer(self._target)
            async with asyncio.timeout(GRANT_S):
                answer = await peer.deliver(keeper.uuid, grant)
        except (ConnectionError, TimeoutError, SegueError):
            return None
        for frame in answer.messages:
            word = unpack(frame)
            if isinstance(word, Confirm) and word.epoch == token.epoch:
                return Handed(
                    returned=False,
                    resumed_at_s=answer.resumed_at_s,
                    marks_here=self._marks,
                    marks_there=answer.marks,
                )
            await keeper.hear(word, self._target, answer.resumed_at_s)
        return None if keeper.token.phase is Phase.RELEASED else Handed(returned=True)

    async def give_up(self) -> None:
        """See engine/ports.py."""
        token = self._keeper.token
        if token.phase is Phase.OFFERED and token.migration == self._migration:
            await self._keeper.tell(GiveUp(self._migration))

    async def retire(self) -> None:
        """See engine/ports.py."""
        token = self._keeper.token
        if token.phase is Phase.RELEASED and token.migration == self._migration:
            await self._keeper.tell(Confirm(token.epoch, token.migration), self._target)
        await self._keeper.forget()
