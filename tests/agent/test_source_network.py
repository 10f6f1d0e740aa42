"""Frames that wait in the source's tap when its guest is about to be stopped: none is left for QEMU to swallow."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any, cast

from pyroute2 import AsyncIPRoute

from segue.adapters.net.links import Links
from segue.adapters.net.steering import Steering, tap_name
from segue.adapters.net.tap import TapRing
from segue.agent.source_network import SourceNetwork
from segue.model.guest import Guest, Nic
from segue.model.migration import Limits, Migration

NIC = Nic("net0", "52:54:00:00:00:01")


class Waiting:
    """A ring with frames, of which QEMU takes none; and what comes once they are gone."""

    def __init__(self, frames: int, later: int) -> None:
        self.frames, self.later = frames, later

    def empty(self) -> bool:
        return not self.frames

    def rescue(self, out: socket.socket) -> int:
        taken, self.frames, self.later = self.frames, self.later, 0
        return taken


def network(ring: Waiting) -> SourceNetwork:
    steering = Steering(cast(AsyncIPRoute, None), cast(Links, None))
    services: Any = SimpleNamespace(steering=steering)
    keeper: Any = SimpleNamespace(
        machine=SimpleNamespace(pid=0), guest=Guest("web1", "u1", 1 << 28, nics=(NIC,))
    )
    made = SourceNetwork(services, keeper, Migration("1", "web1", "a", "b", Limits(), 0.0))
    made._rings[tap_name("web1", NIC)] = cast(TapRing, ring)
    made._outlets[tap_name("web1", NIC)] = cast(socket.socket, None)
    return made


async def test_what_is_not_taken_is_sent_before_the_guest_is_stopped() -> None:
    ring = Waiting(frames=3, later=2)
    source = network(ring)
    await source.drain()
    assert ring.frames == 2, "the first three were sent while the guest still ran"
    ring.frames = 1  # QEMU took one of them.
    assert source.rescue() == 4
    assert ring.empty()


async def test_what_was_taken_is_left_alone() -> None:
    source = network(Waiting(frames=0, later=0))
    await source.drain()
    assert source.rescue() == 0
