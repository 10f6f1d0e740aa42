"""The network of one application: a namespace with a name, and one cable for each of its cards to the host's bridges.

It is made before the application and outlives the agent. What plugs the host's end in, and steers its frames, is the
same as for a machine's tap, and the host's end is named like one.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface
from pathlib import Path
from typing import Final, TypeVar

from pyroute2 import AsyncIPRoute, IPRoute

from segue.adapters.net.links import FRAME_MTU, Links
from segue.adapters.net.steering import tap_name
from segue.adapters.oci import mounts
from segue.model.guest import Nic

T = TypeVar("T")
CLONE_NEWNET: Final = 0x40000000
SCOPE_LINK: Final = 253
NOTICES: Final = "169.254.169.254"
"""Where a guest finds what it is told; reached without a gateway, too."""
SYSCTLS: Final = {
    "net/ipv4/ip_unprivileged_port_start": "0",
    "net/ipv4/ping_group_range": "0 2147483647",
    "net/ipv6/conf/default/accept_dad": "0",
}
"""It has the addresses for itself: any user of it may listen at port 80. An address is usable at once: that nobody else
has it is the operator's business, and a restored socket is bound before the kernel could have asked around."""
ETH_P_ARP: Final = 0x0806
ANNOUNCEMENTS: Final = 3

_libc = ctypes.CDLL(None, use_errno=True)


class Cells:
    """Every method may be called twice."""

    def __init__(self, netlink: AsyncIPRoute, links: Links) -> None:
        self._netlink = netlink
        self._links = links

    async def make(self, place: Path, nics: Sequence[Nic], gateway: str) -> None:
        """Namespace, cables and addresses; nothing is plugged into a bridge yet."""
        if not place.is_mount():
            await _apart(lambda: _make(place))
        for number, nic in enumerate(nics):
            outer = tap_name("", nic)
            if await self._links.index(outer) is None:
                with place.open("rb") as inside:
                    peer = {
                        "ifname": f"eth{number}", "net_ns_fd": inside.fileno(), "address": nic.mac,
                        "mtu": nic.mtu or FRAME_MTU,
                    }  # fmt: skip
                    await self._netlink.link("add", ifname=outer, kind="veth", peer=peer)
        await self.inside(place, lambda: _address(nics, gateway))

    async def remove(self, place: Path, nics: Sequence[Nic]) -> None:
        """Cables and namespace; what still runs in it keeps it alive, without a cable."""
        for nic in nics:
            await self._links.remove(tap_name("", nic))
        if place.exists():
            mounts.detach(place)
            place.unlink(missing_ok=True)

    async def announce(self, place: Path, nics: Sequence[Nic]) -> None:
        """Switches and neighbours learn where the cards are."""
        await self.inside(place, lambda: _announce(nics))

    async def inside(self, place: Path, work: Callable[[], T]) -> T:
        """`work` sees the namespace's network. Raises FileNotFoundError where there is none."""
        with place.open("rb") as handle:
            return await _apart(lambda: _enter(handle.fileno(), work))


async def _apart(work: Callable[[], T]) -> T:
    """In a thread of its own that ends afterwards: it never comes back from where it went."""
    with ThreadPoolExecutor(1, thread_name_prefix="cell") as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _make(place: Path) -> None:
    place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    place.touch(mode=0o444)
    if _libc.unshare(CLONE_NEWNET) != 0:
        raise _error("the agent may not make a network")
    for name, value in SYSCTLS.items():
        path = Path("/proc/sys", name)
        if path.exists():
            path.write_text(value)
    mounts.bind("/proc/thread-self/ns/net", place)


def _enter(handle: int, work: Callable[[], T]) -> T:
    if _libc.setns(handle, CLONE_NEWNET) != 0:
        raise _error("the agent may not enter a network")
    return work()


def _address(nics: Sequence[Nic], gateway: str) -> None:
    with IPRoute() as here:
        here.link("set", index=here.link_lookup(ifname="lo")[0], state="up")
        for number, nic in enumerate(nics):
            index = here.link_lookup(ifname=f"eth{number}")[0]
            Path(f"/proc/sys/net/ipv6/conf/eth{number}/accept_ra").write_text("0")
            here.link("set", index=index, state="up")
            for text in filter(None, (nic.address, nic.address6)):
                found = ip_interface(text)
                here.addr("replace", index=index, address=str(found.ip), prefixlen=found.network.prefixlen)
            if number == 0:
                here.route("replace", dst=f"{NOTICES}/32", oif=index, scope=SCOPE_LINK)
        if gateway:
            here.route("replace", dst="::/0" if ":" in gateway else "0.0.0.0/0", gateway=gateway)


def _announce(nics: Sequence[Nic]) -> None:
    """Gratuitous ARP for each address, and for a card without one a frame from which bridges learn (RARP)."""
    for number, nic in enumerate(nics):
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((f"eth{number}", 0))
            for _ in range(ANNOUNCEMENTS):
                raw.send(_frame(nic))


def _frame(nic: Nic) -> bytes:
    mac = bytes.fromhex(nic.mac.replace(":", ""))
    address = ip_interface(nic.address).ip.packed if nic.address else bytes(4)
    arp = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + address + bytes(6) + address
    return b"\xff" * 6 + mac + struct.pack("!H", ETH_P_ARP) + arp + bytes(18)


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
