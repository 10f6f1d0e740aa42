"""Taps on bridges and point-to-point tunnels, by netlink."""

from __future__ import annotations

import errno
from pathlib import Path

from pyroute2 import AsyncIPRoute
from pyroute2.netlink.exceptions import NetlinkError

from segue.model.guest import Nic

TUNNEL_PORT = 4790
"""UDP port of the tunnels; beside VXLAN's own 4789, so that an overlay network does not mind."""
FRAME_MTU = 1500
HELD_FRAMES = 20_000
"""Frames that a paused guest's tap keeps: 20 s at 1,000 packets/s, at most 30 MB."""
NTF_STICKY = 0x40
NTF_MASTER = 0x04
NUD_NOARP = 0x40
GONE = frozenset({errno.ENODEV, errno.ENOENT, errno.EINVAL, errno.ESRCH})


class Links:
    """The host's own links. Every method may be called twice."""

    def __init__(self, netlink: AsyncIPRoute) -> None:
        self._netlink = netlink

    async def index(self, name: str) -> int | None:
        """The interface's number, or None where there is none."""
        found = await self._netlink.link_lookup(ifname=name)
        return int(found[0]) if found else None

    async def demand_index(self, name: str) -> int:
        """The same. Raises FileNotFoundError where there is none."""
        number = await self.index(name)
        if number is None:
            raise FileNotFoundError(f"this host has no link {name}")
        return number

    async def plug(self, tap: str, bridge: str, nic: Nic, *, silent: bool) -> None:
        """Puts a tap on a bridge, up. `silent`: the bridge sends it nothing that it has not learnt from it."""
        master = await self.demand_index(bridge)
        port = await self.demand_index(tap)
        # No IPv6 address of the host's own on a guest's tap: its multicast would poison the switches.
        Path(f"/proc/sys/net/ipv6/conf/{tap}/disable_ipv6").write_text("1")
        await self._netlink.link(
            "set", index=port, mtu=nic.mtu or FRAME_MTU, txqlen=HELD_FRAMES, master=master
        )
        if nic.vlan or nic.trunk:
            await self._join_vlans(port, nic)
        await self.quieten(tap, silent=silent)
        await self._netlink.link("set", index=port, state="up")

    async def _join_vlans(self, port: int, nic: Nic) -> None:
        """The card's own VLANs and no other: the bridge puts each new port into its default one."""
        wanted = {nic.vlan: ["pvid", "untagged"]} if nic.vlan else {}
        wanted |= {number: [] for number in nic.trunk}
        for number in await self._vlans(port) - wanted.keys():
            await self._netlink.vlan_filter("del", index=port, vlan_info={"vid": number})
        for number, flags in wanted.items():
            info = {"vid": number, "flags": flags} if flags else {"vid": number}
            await self._netlink.vlan_filter("add", index=port, vlan_info=info)

    async def _vlans(self, port: int) -> set[int]:
        found: set[int] = set()
        async for link in await self._netlink.get_vlans(index=port):
            specification = link.get_attr("IFLA_AF_SPEC")
            entries = specification.get_attrs("IFLA_BRIDGE_VLAN_INFO") if specification else []
            found |= {int(entry["vid"]) for entry in entries}
        return found

    async def quieten(self, tap: str, *, silent: bool) -> None:
        """Shuts or opens a bridge port for floods and broadcasts.

        It always learns: the first frame of a resumed guest turns all switches at once, and this bridge
        must know by then where the answers go.
        """
        port = await self.demand_index(tap)
        flag = 0 if silent else 1
        await self._netlink.brport(
            "set", index=port, unicast_flood=flag, mcast_flood=flag, bcast_flood=flag, learning=1
        )

    async def pin(self, tap: str, mac: str) -> None:
        """Keeps the bridge sending `mac` to this tap, whatever it hears from elsewhere."""
        port = await self.demand_index(tap)
        flags = NTF_MASTER | NTF_STICKY
        await self._netlink.fdb("replace", ifindex=port, lladdr=mac, flags=flags, state=NUD_NOARP)

    async def unpin(self, tap: str, mac: str) -> None:
        """Lets the bridge learn again where `mac` is."""
        port = await self.index(tap)
        if port is not None:
            await self._gently(self._netlink.fdb("del", ifindex=port, lladdr=mac, flags=NTF_MASTER))

    async def make_tunnel(self, name: str, number: int, local: str, remote: str) -> None:
        """A VXLAN between two hosts for one guest's frames; a device of that name is made anew."""
        await self.remove(name)
        await self._netlink.link(
            "add",
            ifname=name,
            kind="vxlan",
            vxlan_id=number,
            vxlan_local=local,
            vxlan_group=remote,
            vxlan_port=TUNNEL_PORT,
            vxlan_learning=False,
        )
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
        await self._netlink.link("set", index=await self.demand_index(name), mtu=FRAME_MTU, state="up")

    async def rename(self, name: str, to: str) -> None:
        """Another name for a link that goes on working. Safe to repeat.

        Kernels before 6.3 refuse that for a link that is up; then its frames wait, or are lost, for an instant.
        """
        number = await self.index(name)
        if number is None:
            return
        try:
            await self._netlink.link("set", index=number, ifname=to)
        except NetlinkError as error:
            if error.code != errno.EBUSY:
                raise
            await self._netlink.link("set", index=number, state="down")
            await self._netlink.link("set", index=number, ifname=to)
            await self._netlink.link("set", index=number, state="up")

    async def remove(self, name: str) -> None:
        """Removes a link; one that is not there is not an error."""
        number = await self.index(name)
        if number is not None:
            await self._gently(self._netlink.link("del", index=number))

    def sent_frames(self, name: str) -> int:
        """Frames that left through this link since it was made; 0 where it is gone."""
        try:
            return int(Path(f"/sys/class/net/{name}/statistics/tx_packets").read_text())
        except (FileNotFoundError, OSError):
            return 0

    async def _gently(self, request: object) -> None:
        try:
            await request  # type: ignore[misc]
        except NetlinkError as error:
            if error.code not in GONE:
                raise
