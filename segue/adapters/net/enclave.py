"""A network of the agent's own in which guests find 169.254.169.254: one cable to each guest's tap, nothing else.

It has no name and no file: it lives as long as the agent's process, and its cables go with it, so that an agent that
is killed leaves nothing behind. No frame passes from one cable to another, and none to the host's own network.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from pyroute2 import AsyncIPRoute, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters.net import match
from segue.adapters.net.links import GONE, Links

T = TypeVar("T")

ADDRESS: Final = "169.254.169.254"
PORT: Final = 80
MAC: Final = "02:73:65:67:75:65"
"""The same on every host: what the guest has learnt stays right when it moves."""
CLONE_NEWNET: Final = 0x40000000
# linux/pkt_sched.h, linux/if_ether.h
INGRESS: Final = 0xFFFFFFF2
ETH_P_ALL: Final = 0x0003
PRIORITY: Final = 40
EVERYTHING: Final = {"target": 0x10000, "keys": ["0x0/0x0+0"]}


def cable_name(tap: str) -> str:
    """The host's end of the cable that serves this tap."""
    return f"mds{tap.removeprefix('tap')}"


class Enclave:
    """Made once; every method may be called twice. Raises OSError where the agent may not make networks."""

    def __init__(self, netlink: AsyncIPRoute, links: Links) -> None:
        self._netlink = netlink
        self._links = links
        # One thread lives inside for good: what it makes, sockets and netlink, belongs to the enclave.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="enclave")
        self._inside: IPRoute | None = None
        self._fd = -1

    async def open(self) -> None:
        """Makes the network."""
        await self._run(self._enter)

    def _enter(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.unshare(CLONE_NEWNET) != 0:
            error = ctypes.get_errno()
            raise OSError(error, f"the agent may not make a network of its own: {os.strerror(error)}")
        self._fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        for kind in ("all", "default"):
            Path(f"/proc/sys/net/ipv6/conf/{kind}/disable_ipv6").write_text("1")
            Path(f"/proc/sys/net/ipv4/conf/{kind}/rp_filter").write_text("0")
        self._inside = IPRoute()

    async def plug(self, tap: str) -> socket.socket:
        """Lays a cable to the tap; a socket that hears only this guest, at ADDRESS."""
        cable = cable_name(tap)
        await self.unplug(tap)
        inner = {"ifname": cable, "net_ns_fd": self._fd, "address": MAC}
        await self._netlink.link("add", ifname=cable, kind="veth", peer=inner)
        Path(f"/proc/sys/net/ipv6/conf/{cable}/disable_ipv6").write_text("1")
        await self._netlink.link("set", index=await self._links.index(cable), state="up")
        listening = await self._run(lambda: self._listen(cable))
        await self._netlink.tc("add", "clsact", await self._links.index(cable))
        await self._lead(cable, tap, "u32", **EVERYTHING)
        asked = int.from_bytes(socket.inet_aton(ADDRESS), "big")
        await self._lead(tap, cable, match.KIND, code=match.addressed_to(asked))
        return listening

    async def lead(self, tap: str, other: str, *, back: bool) -> None:
        """What comes out of `other` for ADDRESS goes where that of `tap` goes; `back`: answers go to `other`, too."""
        cable = cable_name(tap)
        if await self._links.index(cable) is None or await self._links.index(other) is None:
            return
        asked = int.from_bytes(socket.inet_aton(ADDRESS), "big")
        await self._lead(other, cable, match.KIND, code=match.addressed_to(asked))
        if back:
            await self._lead(cable, other, "u32", **EVERYTHING)

    async def unplug(self, tap: str) -> None:
        """Takes the cable away; none is no error."""
        await self._links.remove(cable_name(tap))

    def _listen(self, cable: str) -> socket.socket:
        assert self._inside is not None
        index = self._inside.link_lookup(ifname=cable)[0]
        self._inside.link("set", index=index, state="up")
        self._inside.addr("add", index=index, address=ADDRESS, prefixlen=32)
        # Guests may have the same addresses: each socket has its cable, and each cable its own way out.
        way = {"oif": index, "priority": index, "scope": 253, "prefsrc": ADDRESS}  # RT_SCOPE_LINK
        self._inside.route("add", family=socket.AF_INET, dst="0.0.0.0/0", **way)
        made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, cable.encode())
        made.bind((ADDRESS, PORT))
        made.setblocking(False)
        return made

    async def _lead(self, device: str, to: str, kind: str, **frames: object) -> None:
        """What was there goes first: a tap outlives the agent, and its old rule would lead nowhere."""
        index = await self._links.index(device)
        place = {"parent": INGRESS, "prio": PRIORITY, "protocol": ETH_P_ALL, **frames}
        try:
            await self._netlink.tc("del-filter", kind, index, **place)
        except NetlinkError as error:
            if error.code not in GONE:
                raise
        way = {"kind": "mirred", "direction": "egress", "action": "redirect"}
        action = {**way, "ifindex": await self._links.index(to)}
        await self._netlink.tc("add-filter", kind, index, action=action, **place)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
