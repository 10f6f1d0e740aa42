"""Tries what a migration asks of the kernel's network, on links of its own that nobody else uses."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from pyroute2 import IPRoute, NFCTSocket
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters.net.steering import EGRESS, EVERYTHING, PRIORITY
from segue.adapters.net.tap import TUN, open_tap

TAP, TUNNEL = "segtrialtap", "segtrialtun"
NUMBER, PORT = 0xFFFFFF, 4791
"""Beside the port of real tunnels, so that none is disturbed."""
Try = Callable[[IPRoute], None]


def network() -> dict[str, str]:
    """Facility -> why it cannot be used, empty if it can. What was made is removed, also after a crash before."""
    faults: dict[str, str] = {}
    with IPRoute() as netlink:
        _clear(netlink)
        try:
            for facility, attempt in _trials().items():
                faults[facility] = _tried(attempt, netlink)
        finally:
            _clear(netlink)
    return faults


def conntrack() -> str:
    """Why the table of connections cannot be read; empty if it can."""
    try:
        with NFCTSocket() as table:
            table.count()
    except (NetlinkError, OSError) as error:
        return str(error)
    return ""


def _trials() -> dict[str, Try]:
    return {
        f"a tap ({TUN})": _tap,
        "vxlan": _vxlan,
        "clsact": lambda netlink: netlink.tc("add", "clsact", _index(netlink, TAP)),
        "u32 with mirred": _redirect,
    }


def _tried(attempt: Try, netlink: IPRoute) -> str:
    try:
        attempt(netlink)
    except NetlinkError as error:
        return f"the kernel says: {os.strerror(error.code)}"
    except (OSError, LookupError) as error:
        return str(error)
    return ""


def _tap(_: IPRoute) -> None:
    os.close(open_tap(TAP))


def _vxlan(netlink: IPRoute) -> None:
    link: dict[str, Any] = {"vxlan_id": NUMBER, "vxlan_port": PORT, "vxlan_learning": False}
    netlink.link("add", ifname=TUNNEL, kind="vxlan", **link)


def _redirect(netlink: IPRoute) -> None:
    action = {
        "kind": "mirred",
        "direction": "egress",
        "action": "redirect",
        "ifindex": _index(netlink, TUNNEL),
    }
    rule = {"parent": EGRESS, "handle": 0x80000800, "action": action, **PRIORITY, **EVERYTHING}
    netlink.tc("replace-filter", "u32", _index(netlink, TAP), **rule)


def _index(netlink: IPRoute, name: str) -> int:
    found = netlink.link_lookup(ifname=name)
    if not found:
        raise LookupError(f"not tried: the link {name} could not be made")
    return int(found[0])


def _clear(netlink: IPRoute) -> None:
    for name in (TAP, TUNNEL):
        for number in netlink.link_lookup(ifname=name):
            netlink.link("del", index=number)
