"""An application's network while the application comes in: it knows its neighbours, and says nothing too early.

All of it is called inside that network (`Cells.inside`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from ipaddress import ip_address
from typing import Final

from pyroute2 import IPBatch, IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters.net.batch import Batch
from segue.adapters.net.links import GONE

QUEUE: Final = 0x10000
"""The handle of a device's own queue: one without room tells whoever sends that nothing was sent."""
QUEUED_MOST: Final = 1000
# linux/neighbour.h
REACHABLE, STALE, DELAY, PROBE = 0x02, 0x04, 0x08, 0x10
NEIGHBOURS_MOST: Final = 1000


def neighbours(cards: int) -> bytes:
    """Whom it knows at each of its cards, for `introduce` elsewhere."""
    found: list[tuple[int, str, str]] = []
    with IPRoute() as here:
        for number in range(cards):
            for known in here.get_neighbours(ifindex=_index(here, f"eth{number}")):
                address, mac = known.get_attr("NDA_DST"), known.get_attr("NDA_LLADDR")
                if known["state"] & (REACHABLE | STALE | DELAY | PROBE) and address and mac:
                    found.append((number, str(address), str(mac)))
    return json.dumps(found[:NEIGHBOURS_MOST]).encode()


def introduce(said: bytes, cards: int) -> None:
    """It need not ask for the addresses of those first, and nothing waits for the answers; it still makes sure soon.

    Raises ValueError where nobody said that.
    """
    with IPRoute() as here:
        indices = [_index(here, f"eth{number}") for number in range(cards)]
        for number, address, mac in json.loads(said):
            with suppress(NetlinkError):  # It asks for that one.
                place = {"ifindex": indices[number], "dst": str(ip_address(address))}
                here.neigh("replace", lladdr=mac, state=STALE, **place)


def mute(cards: int) -> Batch:
    """Nothing that its kernel says gets anywhere, nor is it taken for sent, until what is returned is fired.

    A restored socket with something to send says it at once: to one beside it that is not there yet, and is reset; to
    a client whom it does not reach yet, and it would be said again only after a second.
    """
    batch = Batch()
    with IPRoute() as here:
        for queue in _queues(here, cards):
            here.tc("replace", limit=0, **queue)
            message = IPBatch()
            message.tc("change", limit=QUEUED_MOST, **queue)
            batch.write(message)
            message.close()
    return batch


def forget_muting(cards: int) -> None:
    """Its devices are as they were made."""
    with IPRoute() as here:
        for queue in _queues(here, cards):
            try:
                here.tc("del", **queue)
            except NetlinkError as error:
                if error.code not in GONE:
                    raise


def _queues(here: IPRoute, cards: int) -> list[dict[str, object]]:
    names = ("lo", *(f"eth{number}" for number in range(cards)))
    return [{"index": _index(here, name), "kind": "pfifo", "handle": QUEUE} for name in names]


def _index(here: IPRoute, name: str) -> int:
    return int(here.link_lookup(ifname=name)[0])
