"""Overlay networks: a bridge on each host, and a VXLAN that floods to the hosts it was told of, no multicast."""

from __future__ import annotations

from pathlib import Path

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters.net.links import GONE, Links

OVERLAY_PORT = 4789
"""VXLAN's own port (RFC 7348); our tunnels use another."""
ALIAS = "overlay network of segue"
EVERYBODY = "00:00:00:00:00:00"
"""VXLAN's entry for frames whose place is not known, and for those to many."""
NTF_SELF = 0x02
NUD_REACHABLE = 0x02
NUD_PERMANENT = 0x80


def bridge_name(network: str) -> str:
    """The bridge of an overlay; at most 15 characters, as a network's name has at most 12."""
    return f"ov-{network}"


def vxlan_name(network: str) -> str:
    """The VXLAN device of an overlay."""
    return f"vx-{network}"


class Overlays:
    """Makes and keeps the devices. Every method may be called twice."""

    def __init__(self, netlink: AsyncIPRoute, links: Links) -> None:
        self._netlink = netlink
        self._links = links

    async def make(self, network: str, vni: int, mtu: int, local: str, others: list[str]) -> None:
        """The network with these other hosts; one that is there with another number is made anew."""
        bridge, vxlan = bridge_name(network), vxlan_name(network)
        if await self._links.index(vxlan) is not None and await self._vni(vxlan) != vni:
            await self._links.remove(vxlan)
        if await self._links.index(bridge) is None:
            await self._add_bridge(bridge, mtu)
        if await self._links.index(vxlan) is None:
            await self._add_vxlan(vxlan, vni, local)
        await self._set_up(bridge, vxlan, mtu)
        await self._flood_to(vxlan, set(others))

    async def _add_bridge(self, bridge: str, mtu: int) -> None:
        await self._netlink.link(
            "add",
            ifname=bridge,
            kind="bridge",
            mtu=mtu,
            br_forward_delay=0,
            br_stp_state=0,
            br_mcast_snooping=0,
        )

    async def _add_vxlan(self, vxlan: str, vni: int, local: str) -> None:
        await self._netlink.link(
            "add",
            ifname=vxlan,
            kind="vxlan",
            vxlan_id=vni,
            vxlan_local=local,
            vxlan_port=OVERLAY_PORT,
            vxlan_learning=True,
        )

    async def _set_up(self, bridge: str, vxlan: str, mtu: int) -> None:
        master = await self._links.index(bridge)
        for name, more in ((bridge, {}), (vxlan, {"master": master})):
            # The host itself has no part in the network: not even an address of its own to announce.
            Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
            index = await self._links.index(name)
            await self._netlink.link("set", index=index, mtu=mtu, ifalias=ALIAS, **more)
            await self._netlink.link("set", index=index, state="up")

    async def _vni(self, vxlan: str) -> int:
        async for link in await self._netlink.get_links(await self._links.index(vxlan)):
            return int(link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", "IFLA_VXLAN_ID"))
        return 0

    async def _flood_to(self, vxlan: str, wanted: set[str]) -> None:
        index = await self._links.index(vxlan)
        there = {dst for mac, dst in await self._entries(vxlan) if mac == EVERYBODY}
        for dst in wanted - there:
            await self._netlink.fdb(
                "append", ifindex=index, lladdr=EVERYBODY, dst=dst, flags=NTF_SELF, state=NUD_PERMANENT
            )
        for dst in there - wanted:
            await self._netlink.fdb("del", ifindex=index, lladdr=EVERYBODY, dst=dst, flags=NTF_SELF)

    async def _entries(self, vxlan: str) -> list[tuple[str, str]]:
        """(card, host) of every entry that has a host."""
        index = await self._links.index(vxlan)
        found = [entry async for entry in await self._netlink.fdb("dump", ifindex=index)]
        pairs = [(entry.get_attr("NDA_LLADDR"), entry.get_attr("NDA_DST")) for entry in found]
        return [(str(mac), str(dst)) for mac, dst in pairs if mac and dst]

    async def lead(self, network: str, mac: str, host: str) -> None:
        """Frames for `mac` go to `host` from now on; what the card itself says later counts more."""
        index = await self._links.index(vxlan_name(network))
        if index is not None:
            await self._netlink.fdb(
                "replace", ifindex=index, lladdr=mac, dst=host, flags=NTF_SELF, state=NUD_REACHABLE
            )

    async def here(self, network: str, mac: str) -> None:
        """The card is on this very host: no entry may lead away."""
        index = await self._links.index(vxlan_name(network))
        if index is None:
            return
        try:
            await self._netlink.fdb("del", ifindex=index, lladdr=mac, flags=NTF_SELF)
        except NetlinkError as error:
            if error.code not in GONE:
                raise

    async def remove_others(self, wanted: set[str]) -> None:
        """Overlays of ours that are not configured any more go, unless something is still plugged into them."""
        for path in Path("/sys/class/net").glob("ov-*"):
            network = path.name.removeprefix("ov-")
            if network in wanted or (path / "ifalias").read_text().strip() != ALIAS:
                continue
            if {port.name for port in (path / "brif").iterdir()} <= {vxlan_name(network)}:
                await self._links.remove(vxlan_name(network))
                await self._links.remove(path.name)
