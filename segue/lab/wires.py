"""The cables of a lab, made by netlink: one bridge in the fabric, one veth pair per machine.

Every interface is born inside the lab's own network namespaces, so that none can be left on the machine.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from segue.errors import Refused
from segue.lab import nodes
from segue.lab.nodes import Node, Role

UPLINK: Final = "uplink0"
NO_PREFIX_ROUTE: Final = 0x200
TC_ROOT: Final = 0xFFFFFFFF
TICK_S: Final = 0.004
BURST_BYTES_MIN: Final = 128 << 10


@contextmanager
def _netlink(pid: int) -> Iterator[Any]:
    # Imported late: it takes longer than everything else that `segue lab exec` does.
    from pyroute2 import IPRoute

    with IPRoute(netns=f"/proc/{pid}/ns/net", flags=0) as link:
        yield link


def make_fabric(fabric: int) -> None:
    """The bridge that joins all machines; it forwards at once and keeps nothing for itself."""
    with _netlink(fabric) as link:
        _up(link, "lo")
        if not _index(link, "br0"):
            _make_bridge(link, nodes.FABRIC.mac)
        _up(link, "br0")


def attach(fabric: int, node: Node, pid: int) -> None:
    """Plug a machine into the fabric and give it its address; plugged in already is not an error."""
    with _netlink(fabric) as ports, _netlink(pid) as link:
        first = UPLINK if node.role is Role.HOST else node.interface
        mtu = nodes.FABRIC_MTU if node.role is Role.HOST else nodes.GUEST_MTU
        if not (_index(ports, node.name) and _index(link, first)):
            _unplug(ports, node.name)
            peer = {"ifname": first, "net_ns_pid": pid, "address": node.mac, "mtu": mtu}
            ports.link("add", ifname=node.name, kind="veth", peer=peer, mtu=nodes.FABRIC_MTU)
            ports.link("set", ifname=node.name, master=_index(ports, "br0"))
        _up(ports, node.name)
        _up(link, "lo")
        _address(link, node)


def give_address(fabric: int, address: str) -> None:
    """One more address of the fabric itself; given already is not an error."""
    with _netlink(fabric) as link:
        index = _index(link, "br0")
        if not any(found.get_attr("IFA_ADDRESS") == address for found in link.get_addr(index=index)):
            link.addr("add", index=index, address=address, prefixlen=nodes.PREFIX_BITS)


def unplug(fabric: int, node: Node) -> None:
    """The kernel removes a dead machine's cable some time later; a power loss does it at once."""
    with _netlink(fabric) as ports:
        _unplug(ports, node.name)


def set_rate(fabric: int, node: Node, pid: int, bits_per_s: int | None) -> None:
    """Limit both directions of the machine's cable; None takes the limit away."""
    with _netlink(fabric) as ports:
        _limit(ports, node.name, bits_per_s)
    with _netlink(pid) as link:
        _limit(link, UPLINK if node.role is Role.HOST else node.interface, bits_per_s)


def _make_bridge(link: Any, mac: str) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        link.link(
            "add",
            ifname="br0",
            kind="bridge",
            address=mac,
            mtu=nodes.FABRIC_MTU,
            br_forward_delay=0,
            br_stp_state=0,
            br_mcast_snooping=0,
        )
    except NetlinkError as error:
        raise Refused(
            what="cannot join the lab's machines",
            why=f"the kernel makes no bridge: {error}",
            todo="Use a kernel with CONFIG_BRIDGE and CONFIG_VETH, or load these modules.",
        ) from error
    # A bridge takes its lowest port's MTU and MAC unless they were set by hand; guests come and go as ports.
    # To the kernel an MTU that is set to what it is already was not set at all, so another one comes first.
    link.link("set", ifname="br0", address=mac, mtu=nodes.FABRIC_MTU - 1)
    link.link("set", ifname="br0", mtu=nodes.FABRIC_MTU)


def _address(link: Any, node: Node) -> None:
    if node.role is Role.HOST:
        if not _index(link, "br0"):
            _make_bridge(link, node.mac)
        link.link("set", ifname=UPLINK, master=_index(link, "br0"))
        _up(link, UPLINK)
    _up(link, node.interface)
    index = _index(link, node.interface)
    link.addr(
        "replace",
        index=index,
        address=node.address,
        prefixlen=nodes.PREFIX_BITS,
        flags=NO_PREFIX_ROUTE,
    )
    # To guests and clients a host speaks in ordinary frames; only to other hosts may they be larger.
    link.route("replace", dst=nodes.NETWORK, oif=index, scope="link", metrics={"mtu": nodes.GUEST_MTU})
    if node.role is Role.HOST:
        link.route("replace", dst=nodes.HOSTS_NETWORK, oif=index, scope="link")


def _limit(link: Any, name: str, bits_per_s: int | None) -> None:
    from pyroute2.netlink.exceptions import NetlinkError

    index = _index(link, name)
    if bits_per_s is None:
        try:
            link.tc("del", index=index, parent=TC_ROOT)
        except NetlinkError as error:
            if error.code != errno.ENOENT:  # there was no limit
                raise
        return
    burst = max(BURST_BYTES_MIN, int(bits_per_s / 8 * TICK_S))
    try:
        link.tc("replace", "tbf", index=index, rate=f"{bits_per_s}bit", burst=burst, latency="50ms")
    except NetlinkError as error:
        raise Refused(
            what=f"cannot limit the link of {name}",
            why=f"the kernel has no token bucket: {error}",
            todo="Use a kernel with CONFIG_NET_SCH_TBF, or load sch_tbf.",
        ) from error


def _unplug(ports: Any, name: str) -> None:
    """The kernel takes the wire away itself when the machine's network goes: whoever comes second finds none."""
    from pyroute2.netlink.exceptions import NetlinkError

    if not _index(ports, name):
        return
    try:
        ports.link("del", ifname=name)
    except NetlinkError as error:
        if error.code != errno.ENODEV:
            raise


def _up(link: Any, name: str) -> None:
    link.link("set", ifname=name, state="up")


def _index(link: Any, name: str) -> int:
    """The interface's number, or 0."""
    found = link.link_lookup(ifname=name)
    return int(found[0]) if found else 0
