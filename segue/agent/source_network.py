"""The source's end of the steering, as the engine's port wants it: all cards of one guest."""

from __future__ import annotations

import asyncio
import socket

import structlog

from segue.adapters.net import conntrack
from segue.adapters.net.batch import Batch
from segue.adapters.net.keeping import KeptFrames
from segue.adapters.net.steering import tap_name, tunnel_name, tunnel_number
from segue.adapters.net.tap import TapRing, open_frames
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import SegueError
from segue.model.guest import Guest
from segue.model.landing import Landing
from segue.model.migration import Migration

log = structlog.get_logger()

TELL_S = 1.0
"""The last word on connections is said while the guest still runs; it must not wait long for it."""


class SourceNetwork:
    """Turns the guest's frames to the target, and back with every frame that was turned if it stays."""

    def __init__(self, services: Services, keeper: Keeper, migration: Migration) -> None:
        assert keeper.guest is not None
        self._services = services
        self._keeper = keeper
        self._guest: Guest = keeper.guest
        self._ways = {tap_name(self._guest.name, nic): tunnel_name(nic) for nic in self._guest.nics}
        self._macs = {tap_name(self._guest.name, nic): nic.mac for nic in self._guest.nics}
        self._rings: dict[str, TapRing] = {}
        self._kept: dict[str, KeptFrames] = {}
        self._outlets: dict[str, socket.socket] = {}
        self._turn: Batch | None = None
        self._migration = migration
        self._told: dict[bytes, bytes] = {}
        self._is_over = False
        self._rescued = 0

    async def prepare(self, landing: Landing, tunnel_id: int) -> None:
        """See engine/ports.py."""
        local, steering = self._services.config.address, self._services.steering
        self._forget_kept()
        for offset, (tap, tunnel) in enumerate(self._ways.items()):
            number = tunnel_number(tunnel_id, offset)
            await steering.prepare_source(tap, self._macs[tap], tunnel, number, local, landing.tunnel_address)
        await self._make_ready()
        await self._tell_flows()

    async def _make_ready(self) -> None:
        """All that the blackout needs is open and written down; an agent that was restarted does it again."""
        for tap, tunnel in self._ways.items():
            self._open_way(tap)
            if tap not in self._kept:
                self._kept[tap] = KeptFrames(tunnel)
                self._outlets[tap] = open_frames(tunnel)
        if self._turn is not None:
            self._turn.close()
        self._turn = await self._services.steering.turn(self._ways.items())

    def _open_way(self, tap: str) -> None:
        self._open_ring(tap)

    def _open_ring(self, tap: str) -> TapRing:
        assert self._keeper.machine is not None
        if tap not in self._rings:
            self._rings[tap] = TapRing(self._keeper.machine.pid, tap)
        return self._rings[tap]

    async def tell(self) -> None:
        """See engine/ports.py."""
        await self._tell_flows()
        if self._turn is None:
            await self._make_ready()

    def steer(self) -> None:
        """See engine/ports.py."""
        assert self._turn is not None
        self._turn.fire()

    async def drain(self) -> None:
        """See engine/ports.py."""
        if not await self._services.steering.drain([self._open_ring(tap) for tap in self._ways]):
            self._rescued += self._rescue()  # A QEMU that is stopped now would swallow the first.

    def rescue(self) -> int:
        """See engine/ports.py."""
        self._rescued += self._rescue()
        return self._rescued

    def _rescue(self) -> int:
        return sum(self._open_ring(tap).rescue(self._outlets[tap]) for tap in self._ways)

    async def mute(self) -> None:
        """See engine/ports.py."""
        self._is_over = True
        self._forget_kept()  # The target runs, and has had them all.
        for tap in self._ways:
            await self._services.steering.mute_floods(tap)

    async def let_learn(self) -> None:
        """See engine/ports.py."""
        for tap, mac in self._macs.items():
            await self._services.links.unpin(tap, mac)

    def steered_frames(self) -> int:
        """See engine/ports.py."""
        return sum(self._services.links.sent_frames(tunnel) for tunnel in self._ways.values())

    async def clear(self) -> None:
        """See engine/ports.py."""
        await self._bring_back()
        self._close()
        if self._is_over:
            await self._services.flows.forget(self._guest, list(self._told.values()))
        for tap, tunnel in self._ways.items():
            await self._services.steering.clear_source(tap, self._macs[tap], tunnel)

    def _close(self) -> None:
        self._forget_kept()
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        if self._turn is not None:
            self._turn.close()
            self._turn = None

    async def _tell_flows(self) -> None:
        """The target's firewall hears of all connections that are new or have changed since it was told last.

        Not a reason to break a migration off: without it only a strict firewall's clients notice.
        """
        try:
            flows = {conntrack.likeness(flow): flow for flow in await self._services.flows.read(self._guest)}
            news = [flow for key, flow in flows.items() if key not in self._told]
            if news:
                peer = self._services.peer(self._migration.target)
                async with asyncio.timeout(TELL_S):
                    await peer.flows(self._guest.uuid, self._migration.id, news)
                self._told |= flows
        except (ConnectionError, TimeoutError, SegueError, OSError, ValueError) as error:
            log.warning("connections not handed over", guest=self._guest.name, why=str(error))

    async def _bring_back(self) -> None:
        """The frames that were turned away come before those that arrive from now on."""
        for tap, kept in self._kept.items():
            if await self._services.links.index(tap) is None:
                continue  # The guest ended here.
            given = kept.give_back(tap)
            await self._services.steering.unsteer(tap)
            given += kept.give_back(tap)
            if given:
                log.info("frames brought back", guest=self._guest.name, tap=tap, frames=given)
            if lost := kept.overflown():
                log.warning("frames not kept", guest=self._guest.name, tap=tap, frames=lost)

    def _forget_kept(self) -> None:
        for kept in self._kept.values():
            kept.close()
        for outlet in self._outlets.values():
            outlet.close()
        self._kept.clear()
        self._outlets.clear()
