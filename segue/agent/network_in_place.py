"""The steering of a guest's frames from the taps of its old QEMU to those of its new one, on one host."""

from __future__ import annotations

from segue.adapters.net.tap import TapRing
from segue.agent import beside
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.agent.source_network import SourceNetwork
from segue.model.handoff import HERE, Phase
from segue.model.landing import Landing
from segue.model.migration import Migration


class NetworkInPlace(SourceNetwork):
    """As between two hosts, but that frames need no tunnel: what is turned waits in the new QEMU's taps at once."""

    def __init__(self, services: Services, keeper: Keeper, migration: Migration) -> None:
        super().__init__(services, keeper, migration)
        self._ways = beside.ways(self._guest)
        self._held: list[TapRing] = []
        self._turned_frames = 0

    async def prepare(self, landing: Landing, tunnel_id: int) -> None:
        """See engine/ports.py."""
        self._forget_kept()
        for tap, mac in self._macs.items():
            await self._services.links.pin(tap, mac)
            await self._services.steering.unsteer(tap)
        await self._make_ready()
        await self._services.metadata.lead(self._ways, back=False)

    async def _make_ready(self) -> None:
        """A tap that nobody holds drops what waits in it: ours stays, should the new QEMU die."""
        second = self._keeper.resident.beside
        if second is not None and not self._held:
            self._held = [TapRing(second.pid, other) for other in self._ways.values()]
        await super()._make_ready()

    async def tell(self) -> None:
        """See engine/ports.py: this host's firewall knows all connections already."""
        if self._turn is None:
            await self._make_ready()

    async def mute(self) -> None:
        """See engine/ports.py. From here on the bridge itself sends the guest's frames to its new taps."""
        if self._is_over:
            return
        self._is_over = True
        for tap, other in self._ways.items():
            if await self._services.links.index(other) is None:
                continue  # Done before the agent was restarted.
            await self._services.steering.open_target(other)
            await self._services.links.pin(other, self._macs[tap])
            await self._services.steering.mute_floods(tap)
        self._turned_frames = super().steered_frames()
        self._forget_kept()
        await self._services.metadata.lead(self._ways, back=True)

    async def let_learn(self) -> None:
        """See engine/ports.py: its own bridge was told already."""

    def steered_frames(self) -> int:
        """See engine/ports.py. What comes later comes straight to the new taps, and is not counted."""
        return self._turned_frames if self._is_over else super().steered_frames()

    async def clear(self) -> None:
        """See engine/ports.py. After the handoff the old taps, and what turns them, go with the old QEMU."""
        token = self._keeper.token
        if token.phase is Phase.OWNER and token.peer == HERE:
            await self.mute()
            self._close()
        else:
            await super().clear()
        for ring in self._held:
            ring.close()
        self._held.clear()
