"""The networks of this host by their names: which bridge each is, and the overlays that the agent makes itself."""

from __future__ import annotations

import asyncio
import socket

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters import system
from segue.adapters.net.overlay import Overlays, bridge_name
from segue.agent.config import Config, NetworkConfig
from segue.errors import Kind, Refused
from segue.model.guest import Guest, Nic
from segue.model.network import VXLAN_OVERHEAD_BYTES, NetworkFacts

log = structlog.get_logger()

PLAIN_MTU = 1500


class Networks:
    """Looks up and makes; it knows nothing of guests but their cards."""

    def __init__(self, config: Config, overlays: Overlays) -> None:
        self._config = config
        self._overlays = overlays
        self.default_bridge = config.bridge

    def bridge_of(self, nic: Nic) -> str:
        """The bridge on this host that the card is plugged into. Raises Refused where there is no such network."""
        if not nic.network:
            return nic.bridge
        return self._bridge(nic.network, self._known(nic.network))

    def told_mtu(self, network: str) -> int:
        """What a guest on it has to be told; 0 where it is the usual 1500."""
        mtu = self._mtu(self._known(network)) if network else PLAIN_MTU
        return 0 if mtu == PLAIN_MTU else mtu

    def facts(self) -> dict[str, NetworkFacts]:
        """All networks that are there now."""
        there = set(system.bridges())
        facts = {
            name: NetworkFacts(self._bridge(name, one), self._mtu(one), one.vni)
            for name, one in self._config.networks.items()
        }
        return {name: one for name, one in facts.items() if one.bridge in there}

    async def make(self) -> None:
        """Overlays that are configured are there, with all hosts that belong to them; others of ours go."""
        wanted = {name: one for name, one in self._config.networks.items() if one.vni}
        for name, one in wanted.items():
            try:
                others = await self._others(one)
                await self._overlays.make(name, one.vni, self._mtu(one), self._config.address, others)
            except (NetlinkError, OSError) as error:
                # Guests on other networks must not wait for this one; a guest that needs it is refused here.
                log.error("overlay network not made", name=name, why=str(error))
                continue
            log.info("overlay network", name=name, vni=one.vni, mtu=self._mtu(one), hosts=others)
        await self._overlays.remove_others(set(wanted))

    async def _others(self, network: NetworkConfig) -> list[str]:
        """Addresses of the hosts that belong to the network: the configured ones, or every peer."""
        names = network.hosts or list(self._config.peers)
        found = []
        for name in names:
            if name != self._config.name:
                found.append(await asyncio.to_thread(_resolve, self._config.peer_address(name)))
        return found

    async def guest_is_here(self, guest: Guest) -> None:
        """No entry of an overlay leads away from this host any more for the guest's cards."""
        for network, mac in overlay_cards(guest):
            await self._overlays.here(network, mac)

    async def guest_is_at(self, network: str, macs: list[str], host: str) -> None:
        """Another host says that these cards are there now. A network that is not here is not our business."""
        if network not in self._config.networks or not self._config.networks[network].vni:
            return
        address = await asyncio.to_thread(_resolve, self._config.peer_address(host))
        for mac in macs:
            await self._overlays.lead(network, mac, address)

    def _bridge(self, name: str, network: NetworkConfig) -> str:
        return bridge_name(name) if network.vni else network.bridge

    def _mtu(self, network: NetworkConfig) -> int:
        if network.mtu:
            return network.mtu
        return PLAIN_MTU - VXLAN_OVERHEAD_BYTES if network.vni else PLAIN_MTU

    def _known(self, name: str) -> NetworkConfig:
        try:
            return self._config.networks[name]
        except KeyError:
            known = ", ".join(sorted(self._config.networks)) or "none"
            raise Refused(
                what=f"there is no network {name} on {self._config.name}",
                why=f"its configuration has these networks: {known}",
                todo=f"Choose one of them, or add [networks.{name}] to the agent.toml of every host.",
                kind=Kind.NOT_FOUND,
            ) from None


def overlay_cards(guest: Guest) -> list[tuple[str, str]]:
    """(network, address) of each card that is on a network with a name."""
    return [(nic.network, nic.mac) for nic in guest.nics if nic.network]


def _resolve(host: str) -> str:
    return str(socket.getaddrinfo(host, None, socket.AF_INET)[0][4][0])
