"""The floor: what no migration of this guest can do without, measured on it in the same turns as everything else.

The guest is stopped first and copied completely, so that nothing is dirty, and QEMU waits before its switch-over.
From the word to go on until the target runs: the device state is saved, sent and loaded, the source says so, and the
target is told to run. No page of the guest, no journal, no other process, no network is in it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench.events import Seen
from bench.moves import Move
from bench.plain import END_S, PlainGuest, Variant, channel, finish, prepare
from segue.adapters.qemu.monitor import Monitor
from segue.lab import nodes

NAME: Final = "floor"
WAIT: Final = "pause-before-switchover"
LOOKS: Final = 10
LOOK_S: Final = 0.05


class Floor:
    """A way of moving a guest that only shows how long its device state takes."""

    name = NAME

    def __init__(self, guest: PlainGuest) -> None:
        self._guest = guest

    @property
    def guest_name(self) -> str:
        """See bench/moves.py."""
        return self._guest.guest.name

    @property
    def address(self) -> str:
        """See bench/moves.py."""
        return self._guest.address

    @property
    def host(self) -> str:
        """See bench/moves.py."""
        return self._guest.host

    def move(self, to: str) -> Move:
        """`stopped_at_s` is the moment of the word to go on, not that of the guest's stop."""
        begun_s = time.time()
        self._guest.start(to, incoming=True, autostart=False)
        move = asyncio.run(self._move(to, begun_s))
        self._guest.clear(self._guest.host)
        self._guest.host = to
        return move

    async def _move(self, to: str, begun_s: float) -> Move:
        source, target = self._guest.monitor(self._guest.host), self._guest.monitor(to)
        await source.connect()
        await target.connect()
        seen = Seen(source, target)
        place = await prepare(source, target, nodes.parse(to).address, Variant(NAME, 1, safe=True))
        await source.execute("migrate-set-capabilities", capabilities=[{"capability": WAIT, "state": True}])
        await source.execute("stop")
        await source.execute("migrate", channels=[channel(place["host"], place["port"])])
        await source.until(lambda: seen.status == "pre-switchover", within_s=END_S)
        await _idle(target)
        asked_s = seen.stopped_at_s = time.time()
        await source.execute("migrate-continue", state="pre-switchover")
        await source.until(lambda: seen.ended, within_s=END_S)
        if seen.status != "completed":
            raise RuntimeError(f"the floor was not measured: {await source.execute('query-migrate')}")
        await target.execute("cont")
        await target.until(lambda: seen.resumed_at_s > 0, within_s=END_S)
        seen.marks.insert(0, ("told to go on", asked_s))
        return await finish(source, target, seen, begun_s)


async def _idle(target: Monitor) -> None:
    """What was sent may still wait in the socket: a QEMU that loads answers nobody until it has read all."""
    for _ in range(LOOKS):
        await asyncio.sleep(LOOK_S)
        await target.execute("query-status", within_s=END_S)
