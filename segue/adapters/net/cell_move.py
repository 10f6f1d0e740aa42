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

from segue.adapters.net import match
from segue.adapters.net.batch import Batch
from segue.adapters.net.steering import EGRESS, PRIORITY

PLACE: Final = {"parent": EGRESS, **PRIORITY}
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

    Raises ValueError where `neighbours` did not say that.
    """
    with IPRoute() as here:
        indices = [_index(here, f"eth{number}") for number in range(cards)]
        try:
            known = [
                (indices[at], str(ip_address(address)), str(mac)) for at, address, mac in json.loads(said)
            ]
        except (ValueError, TypeError, IndexError) as error:
            raise ValueError(f"nobody knows such neighbours: {error}") from error
        for index, address, mac in known:
            with suppress(NetlinkError):  # It asks for that one.
                here.neigh("replace", ifindex=index, dst=address, lladdr=mac, state=STALE)


def mute(cards: int) -> Batch:
    """Nothing that its kernel says gets anywhere, nor is it taken for sent, until what is returned is fired.

    A restored socket with something to send says it at once: to one beside it that is not there yet, and is reset; to
    a client whom it does not reach yet, and it would be said again only after a second. What a queue's rule drops was
    not sent, for TCP. (A queue without room does the same, but to take it away costs the device 20 ms of silence.)
    """
    batch = Batch()
    with IPRoute() as here:
        for name in ("lo", *(f"eth{number}" for number in range(cards))):
            index = _index(here, name)
            with suppress(NetlinkError):  # It is there already.
                here.tc("add", "clsact", index)
            here.tc("replace-filter", match.KIND, index, handle=1, **PLACE, **match.nothing_passes())
            message = IPBatch()
            message.tc("del-filter", match.KIND, index, **PLACE)
            batch.write(message)
            message.close()
    return batch


def _index(here: IPRoute, name: str) -> int:
    return int(here.link_lookup(ifname=name)[0])
