"""Turns a guest's frames from the source's tap into the target's, where they wait until it runs."""

from __future__ import annotations

import asyncio
import errno
import time
from collections.abc import Iterable, Mapping, Sequence

from pyroute2 import AsyncIPRoute, IPBatch
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters.net import match
from segue.adapters.net.batch import Batch
from segue.adapters.net.links import GONE, Links
from segue.adapters.net.tap import TapRing, feed_sacrifice
from segue.model.guest import Nic

# linux/pkt_sched.h: the two hooks of a clsact queueing discipline.
INGRESS = 0xFFFFFFF2
EGRESS = 0xFFFFFFF3
ALL_PROTOCOLS = 3  # ETH_P_ALL
PRIORITY = {"prio": 1, "protocol": ALL_PROTOCOLS}
EVERYTHING = {"target": 0x10000, "keys": ["0x0/0x0+0"]}
"""u32's way to say: any frame."""
BEHIND = {"prio": 2, "protocol": ALL_PROTOCOLS}
"""For what a redirection that comes later is to overrule. It is no u32 rule (see match.py): a second of these on one
device, even at its other hook, takes the first one's place."""
DRAIN_S = 0.01
"""Longest wait for a tap's ring to run empty while the guest still runs. A QEMU that has to wait for a processor takes
its frames late (our lab, two for all: one move of twelve finds some after 5 ms)."""
DRAIN_LOOK_S = 0.0001


def tap_name(guest: str, nic: Nic) -> str:
    """The tap's name, at most 15 characters: from the card's address, which is unique on a network."""
    return f"tap{nic.mac.replace(':', '')[-10:]}"


def tunnel_name(nic: Nic) -> str:
    """The name of the tunnel that serves this card during a migration."""
    return f"seg{nic.mac.replace(':', '')[-10:]}"


def tunnel_number(first: int, offset: int) -> int:
    """The VXLAN network identifier (24 bits) of a guest's card, from that of its first one."""
    return (first + offset) & 0xFFFFFF or 1


class Steering:
    """Both ends of the redirection. Every method may be called twice; the undo of all is `clear`."""

    def __init__(self, netlink: AsyncIPRoute, links: Links) -> None:
        self._netlink = netlink
        self._links = links

    async def prepare_source(
        self, tap: str, mac: str, tunnel: str, number: int, local: str, remote: str
    ) -> None:
        """Everything that can be done before the blackout; no frame goes another way yet."""
        await self._links.make_tunnel(tunnel, number, local, remote)
        await self._links.pin(tap, mac)
        await self._unsteer(tap, EGRESS)

    async def prepare_target(self, tap: str, tunnel: str, number: int, local: str, remote: str) -> None:
        """Lets what comes out of the tunnel wait in the tap of the paused guest."""
        await self._links.make_tunnel(tunnel, number, local, remote)
        await self.hook(tunnel)
        await self._redirect(tunnel, INGRESS, tap)
        feed_sacrifice(tap)

    async def turn(self, ways: Iterable[tuple[str, str]]) -> Batch:
        """The messages that turn each tap's frames into its tunnel: looked up and written now, fired later."""
        rules = [await self._rule(tap, EGRESS, tunnel) for tap, tunnel in ways]
        # pyroute2 writes messages with an event loop of its own, for which this one must not be in the way.
        return await asyncio.to_thread(_written, rules)

    async def turn_calls(self, ways: Iterable[tuple[str, str]]) -> Batch:
        """The same for the first segment of each new TCP connection alone; `unsteer` undoes both."""
        rules = []
        for tap, tunnel in ways:
            place = {"index": await self._links.demand_index(tap), "parent": EGRESS, "handle": 1, **BEHIND}
            rules.append({**place, "action": await self._into(tunnel), "code": match.calls()})
        return await asyncio.to_thread(_written, rules, match.KIND)

    async def drain(self, rings: Sequence[TapRing]) -> bool:
        """Lets the running guest take what already waits in its taps; True when nothing is left.

        Every millisecond of it is before the blackout. Not busy: QEMU may be waiting for this very processor.
        """
        deadline = time.monotonic() + DRAIN_S
        while not (empty := all(ring.empty() for ring in rings)) and time.monotonic() < deadline:
            await asyncio.sleep(DRAIN_LOOK_S)
        return empty

    async def hush(self, device: str) -> None:
        """Nothing that comes in at `device` gets any further; `lead` and `speak` end that."""
        await self.hook(device)
        await self._netlink.tc("replace-filter", match.KIND, **await self._silence(device))

    async def hush_batch(self, devices: Iterable[str]) -> Batch:
        """The same for all of them at one stroke, written now and fired later."""
        rules = [await self._silence(device) for device in devices]
        return await asyncio.to_thread(_written, rules, match.KIND)

    async def speak(self, device: str) -> None:
        """What comes in at `device` goes on as usual; without the device there is nothing to do."""
        number = await self._links.index(device)
        if number is not None:
            await self._drop_rule(match.KIND, number, INGRESS, BEHIND)

    async def wait_at(self, tap: str, tunnel: str, number: int, local: str, remote: str) -> None:
        """As `prepare_target`, for an application: nothing comes out of the tunnel, nor out of the application."""
        await self._links.make_tunnel(tunnel, number, local, remote)
        await self.hush(tunnel)
        await self.hush(tap)

    async def lead(self, tunnel: str, tap: str) -> None:
        """What comes out of the tunnel goes into the application's card from here on."""
        if await self._links.index(tunnel) is not None:
            await self._redirect(tunnel, INGRESS, tap)

    async def mute_floods(self, tap: str) -> None:
        """Stops the source from forwarding broadcasts that the target's bridge now gets itself.

        A host that has lost its power since has no tap any more, and forwards nothing.
        """
        if await self._links.index(tap) is not None:
            await self._links.quieten(tap, silent=True)

    async def open_target(self, tap: str) -> None:
        """Lets the target's bridge treat the tap as any other port."""
        await self._links.quieten(tap, silent=False)

    async def unsteer(self, tap: str) -> None:
        """The guest's frames go into its own tap again; without a tap there is nothing to turn."""
        number = await self._links.index(tap)
        if number is not None:
            await self._unsteer(tap, EGRESS)
            await self._drop_rule(match.KIND, number, EGRESS, BEHIND)

    async def clear_source(self, tap: str, mac: str, tunnel: str) -> None:
        """The guest's frames go into its own tap again, and the tunnel goes."""
        await self.unsteer(tap)
        if await self._links.index(tap) is not None:
            await self._links.quieten(tap, silent=False)
        await self._links.unpin(tap, mac)
        await self._links.remove(tunnel)

    async def hook(self, device: str) -> None:
        """Makes the place for redirections, once in a device's life and before anything passes through it:
        the kernel empties the device's queue when it is made (measured: 1 to 3 frames lost at 1,000/s)."""
        try:
            await self._netlink.tc("add", "clsact", await self._links.index(device))
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise

    async def _unsteer(self, device: str, hook: int) -> None:
        number = await self._links.index(device)
        await self._drop_rule("u32", number, hook, {**PRIORITY, **EVERYTHING})

    async def _drop_rule(self, kind: str, number: int | None, hook: int, which: Mapping[str, object]) -> None:
        try:
            await self._netlink.tc("del-filter", kind, number, parent=hook, **which)
        except NetlinkError as error:
            if error.code not in GONE:
                raise

    async def _redirect(self, device: str, hook: int, to: str) -> None:
        await self._netlink.tc("replace-filter", "u32", **await self._rule(device, hook, to))

    async def _rule(self, device: str, hook: int, to: str) -> dict[str, object]:
        """Everything that passes `hook` of `device` goes out through `to`."""
        action = await self._into(to)
        place = {"index": await self._links.demand_index(device), "parent": hook, "handle": 0x80000800}
        return {**place, "action": action, **PRIORITY, **EVERYTHING}

    async def _into(self, device: str) -> dict[str, object]:
        index = await self._links.demand_index(device)
        return {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": index}

    async def _silence(self, device: str) -> dict[str, object]:
        place = {"index": await self._links.demand_index(device), "parent": INGRESS, "handle": 1}
        return {**place, **BEHIND, **match.nothing_passes()}


def _written(rules: list[dict[str, object]], kind: str = "u32") -> Batch:
    batch = Batch()
    for rule in rules:
        message = IPBatch()
        message.tc("replace-filter", kind, **rule)
        batch.write(message)
        message.close()
    return batch
