"""Steering in a network of this test's own: which frames get where, by the kernel's own devices."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections.abc import Awaitable, Callable

import pytest
from pyroute2 import AsyncIPRoute

from segue.adapters.net.links import Links
from segue.adapters.net.steering import DRAIN_S, Steering
from segue.adapters.net.tap import TapRing, feed_sacrifice, open_tap
from tests.adapters import network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")
FRAME = b"\x02\0\0\0\0\x02" + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + b"segue".ljust(46, b"\0")
"""From one address of nobody to another, of a local experimental EtherType."""
ETH_P_ALL = 3
WAIT_S = 0.2
"""For a frame that must not come."""


class Wires:
    """`inner` is the application's end of the cable `tap`, which is plugged into a bridge, at which `client` is, too;
    `there` is where the tunnel `way` ends."""

    def __init__(self, netlink: AsyncIPRoute) -> None:
        self.netlink = netlink
        self.steering = Steering(netlink, Links(netlink))

    async def lay(self) -> None:
        await self.netlink.link("add", ifname="bridge", kind="bridge")
        bridge = await self._index("bridge")
        for one, other, plugged in (
            ("tap", "inner", True),
            ("port", "client", True),
            ("way", "there", False),
        ):
            await self.netlink.link("add", ifname=one, kind="veth", peer={"ifname": other})
            if plugged:
                await self.netlink.link("set", index=await self._index(one), master=bridge)
        for name in ("bridge", "tap", "inner", "port", "client", "way", "there"):
            await self.netlink.link("set", index=await self._index(name), state="up")
        for name in ("tap", "way"):
            await self.steering.hook(name)

    async def _index(self, name: str) -> int:
        return int((await self.netlink.link_lookup(ifname=name))[0])

    async def gets(self, sender: str, *listeners: str, frame: bytes = FRAME) -> set[str]:
        """Which of the devices hear what is sent out of another."""
        heard = {name: ears(name) for name in listeners}
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as mouth:
            mouth.bind((sender, 0))
            mouth.send(frame)
        await asyncio.sleep(WAIT_S)
        found = set()
        for name, ear in heard.items():
            with ear:
                if hears(ear, frame):
                    found.add(name)
        return found


def ears(name: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
    made.bind((name, ETH_P_ALL))
    return made


def hears(ear: socket.socket, frame: bytes) -> bool:
    try:
        while not ear.recv(2048).startswith(frame):
            continue
        return True
    except BlockingIOError:
        return False


def among_wires(test: Callable[[Wires], Awaitable[None]]) -> None:
    """In a thread of its own, which ends in it."""

    async def all_of_it() -> None:
        async with AsyncIPRoute() as netlink:
            wires = Wires(netlink)
            await wires.lay()
            await test(wires)

    network.in_a_network(lambda: asyncio.run(all_of_it()))


@pytest.mark.parametrize("first", ["turn", "hush"])
def test_an_application_that_leaves_is_led_away_and_hushed_at_once(first: str) -> None:
    """Both rules belong to one device, and one must not take the other's place."""

    async def look(wires: Wires) -> None:
        turn = await wires.steering.turn([("tap", "way")])
        hush = await wires.steering.hush_batch(["tap"])
        assert await wires.gets("client", "inner", "there") == {"inner"}
        assert await wires.gets("inner", "client", "there") == {"client"}
        for batch in (turn, hush) if first == "turn" else (hush, turn):
            batch.fire()
            batch.fire()
        assert await wires.gets("client", "inner", "there") == {"there"}, "its frames go after it"
        assert await wires.gets("inner", "client", "there") == set(), "nobody hears it any more"
        await wires.steering.unsteer("tap")
        await wires.steering.speak("tap")
        assert await wires.gets("client", "inner", "there") == {"inner"}
        assert await wires.gets("inner", "client", "there") == {"client"}
        turn.close()
        hush.close()

    among_wires(look)


def test_what_waits_before_an_application_is_led_to_it() -> None:
    """Nothing comes out of the tunnel or of the application until the one is led to the other, and it may speak."""

    async def look(wires: Wires) -> None:
        await wires.steering.hush("way")
        await wires.steering.hush("tap")
        assert await wires.gets("there", "inner", "client") == set()
        assert await wires.gets("inner", "there", "client") == set()
        for _ in range(2):
            await wires.steering.speak("tap")
            await wires.steering.lead("way", "tap")
        assert await wires.gets("there", "inner", "client") == {"inner"}
        assert await wires.gets("inner", "there", "client") == {"client"}

    among_wires(look)


def segment(version: int, flags: int) -> bytes:
    """A TCP segment without data; IPv4's header has an option, and a right checksum, which a bridge may look at."""
    tcp = struct.pack("!HHIIBBHHH", 1234, 80, 1, 0, 5 << 4, flags, 1000, 0, 0)
    if version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64) + bytes(15) + b"\1" + bytes(15) + b"\2"
        return FRAME[:12] + b"\x86\xdd" + head + tcp
    words = [0x4600, 24 + len(tcp), 1, 0, 0x4006, 0, 0x0A00, 1, 0x0A00, 2, 0x0101, 0x0101]
    total = sum(words)
    words[5] = ~(total + (total >> 16)) & 0xFFFF
    return FRAME[:12] + b"\x08\0" + struct.pack("!12H", *words) + tcp


SYN, SYN_ACK, ACK = 0x02, 0x12, 0x10


@pytest.mark.parametrize("version", [4, 6])
def test_new_connections_are_led_away_before_all_others(version: int) -> None:
    async def look(wires: Wires) -> None:
        calls = await wires.steering.turn_calls([("tap", "way")])
        turn = await wires.steering.turn([("tap", "way")])
        for _ in range(2):
            calls.fire()
        for flags, goes in ((SYN, "there"), (SYN_ACK, "inner"), (ACK, "inner"), (0, "inner")):
            assert await wires.gets("client", "inner", "there", frame=segment(version, flags)) == {goes}
        assert await wires.gets("client", "inner", "there") == {"inner"}
        turn.fire()
        assert await wires.gets("client", "inner", "there", frame=segment(version, ACK)) == {"there"}
        await wires.steering.unsteer("tap")
        assert await wires.gets("client", "inner", "there", frame=segment(version, SYN)) == {"inner"}
        calls.close()
        turn.close()

    among_wires(look)


def test_a_frame_that_qemu_is_late_to_take_is_waited_for() -> None:
    """A QEMU that is stopped with a frame in its tap reads it, and forgets it."""

    async def late() -> None:
        tap = open_tap("tap0")
        async with AsyncIPRoute() as netlink:
            links = Links(netlink)
            await netlink.link("set", index=await links.demand_index("tap0"), state="up")
            ring = TapRing(os.getpid(), "tap0")
            feed_sacrifice("tap0")
            assert not ring.empty()
            asyncio.get_running_loop().call_later(DRAIN_S / 2, take, tap)
            assert await Steering(netlink, links).drain([ring])
            feed_sacrifice("tap0")
            assert not await Steering(netlink, links).drain([ring]), "nobody takes it"
            ring.close()
        os.close(tap)

    def take(tap: int) -> None:
        while select.select([tap], [], [], 0)[0]:
            os.read(tap, 2048)

    network.in_a_network(lambda: asyncio.run(late()))
