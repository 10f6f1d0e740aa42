"""The source's end of the steering, as the engine's port wants it: all cards of one guest."""

from __future__ import annotations

from segue.adapters.net.steering import tap_name, tunnel_name
from segue.adapters.net.tap import TapRing
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.model.guest import Guest
from segue.model.landing import Landing


class SourceNetwork:
    """The source's end of the steering, for all cards of the guest."""

    def __init__(self, services: Services, keeper: Keeper) -> None:
        assert keeper.guest is not None
        self._services = services
        self._keeper = keeper
        self._guest: Guest = keeper.guest
        self._rings: dict[str, TapRing] = {}

    async def prepare(self, landing: Landing, tunnel_id: int) -> None:
        """See engine/ports.py."""
        local, steering = self._services.config.address, self._services.steering
        for offset, nic in enumerate(self._guest.nics):
            tap, tunnel = tap_name(self._guest.name, nic), tunnel_name(nic)
            number = tunnel_id + offset
            await steering.prepare_source(tap, nic.mac, tunnel, number, local, landing.tunnel_address)
            self._open_ring(tap)

    def _open_ring(self, tap: str) -> TapRing:
        assert self._keeper.machine is not None
        if tap not in self._rings:
            self._rings[tap] = TapRing(self._keeper.machine.pid, tap)
        return self._rings[tap]

    async def steer(self) -> None:
        """See engine/ports.py."""
        for nic in self._guest.nics:
            await self._services.steering.switch(tap_name(self._guest.name, nic), tunnel_name(nic))

    def drain(self) -> None:
        """See engine/ports.py."""
        for nic in self._guest.nics:
            self._services.steering.drain(self._open_ring(tap_name(self._guest.name, nic)))

    def rescue(self) -> int:
        """See engine/ports.py."""
        return sum(
            self._open_ring(tap_name(self._guest.name, nic)).rescue(tunnel_name(nic))
            for nic in self._guest.nics
        )

    async def mute(self) -> None:
        """See engine/ports.py."""
        for nic in self._guest.nics:
            await self._services.steering.mute_floods(tap_name(self._guest.name, nic))

    def steered_frames(self) -> int:
        """See engine/ports.py."""
        return sum(self._services.links.sent_frames(tunnel_name(nic)) for nic in self._guest.nics)

    async def clear(self) -> None:
        """See engine/ports.py."""
        for ring in self._rings.values():
            ring.close()
        self._rings.clear()
        for nic in self._guest.nics:
            tap = tap_name(self._guest.name, nic)
            await self._services.steering.clear_source(tap, nic.mac, tunnel_name(nic))
