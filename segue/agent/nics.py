"""Turns the cards that were asked for into those of the guest's specification, or says what is wrong with them."""

from __future__ import annotations

import ipaddress
import re
import secrets
from collections.abc import Iterator

from segue.agent.networks import Networks
from segue.model.guest import Nic
from segue.wire.frames import CreateGuest, NicWish

MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")
"""The last bit of the first byte would make it an address of many."""
NICS_MAX = 8
VLAN_MAX = 4094
MTU_LEAST, MTU_MOST = 1280, 9216
"""IPv6 needs 1280 (RFC 8200)."""


def specify(networks: Networks, wish: CreateGuest) -> tuple[Nic, ...]:
    """The guest's cards. Raises Refused for a network that this host does not have."""
    return tuple(_nic(networks, f"nic{number}", one) for number, one in enumerate(_wishes(wish)))


def _nic(networks: Networks, name: str, wish: NicWish) -> Nic:
    bridge = wish.bridge or ("" if wish.network else networks.default_bridge)
    nic = Nic(
        id=name,
        mac=wish.mac.lower() or new_mac(),
        bridge=bridge,
        address=wish.address,
        address6=wish.address6,
        network=wish.network,
        vlan=wish.vlan,
        trunk=tuple(sorted(set(wish.trunk))),
        mtu=wish.mtu or networks.told_mtu(wish.network),
    )
    networks.bridge_of(nic)
    return nic


def problems(wish: CreateGuest) -> list[str]:
    """Everything that cannot be meant."""
    found = list(_problems(wish))
    if wish.nics and wish.address:
        found.append("with cards of its own (--nic) the address belongs to one of them, not to the guest")
    if len(wish.nics) > NICS_MAX:
        found.append(f"a guest has at most {NICS_MAX} cards")
    return found


def _problems(wish: CreateGuest) -> Iterator[str]:
    macs: set[str] = set()
    for number, nic in enumerate(_wishes(wish)):
        mac = nic.mac.lower()
        if mac and not MAC.fullmatch(mac):
            yield f"card {number}: '{nic.mac}' is no address of one card, such as 52:54:00:12:34:56"
        if mac and mac in macs:
            yield f"card {number}: {mac} is the address of another card"
        macs.add(mac)
        if nic.bridge and nic.network:
            yield f"card {number}: it is either on a bridge or on a network"
        yield from (f"card {number}: {problem}" for problem in _ranges(nic))


def _ranges(nic: NicWish) -> Iterator[str]:
    for address, version in ((nic.address, 4), (nic.address6, 6)):
        if address and not _is_interface(address, version):
            yield f"'{address}' is no IPv{version} address with prefix"
    for vlan in ((nic.vlan,) if nic.vlan else ()) + nic.trunk:
        if not 1 <= vlan <= VLAN_MAX:
            yield f"VLAN {vlan} is not between 1 and {VLAN_MAX}"
    if nic.vlan and nic.vlan in nic.trunk:
        yield f"VLAN {nic.vlan} cannot be both tagged and untagged"
    if nic.mtu and not MTU_LEAST <= nic.mtu <= MTU_MOST:
        yield f"an MTU lies between {MTU_LEAST} and {MTU_MOST}"


def _is_interface(text: str, version: int) -> bool:
    try:
        return "/" in text and ipaddress.ip_interface(text).version == version
    except ValueError:
        return False


def _wishes(wish: CreateGuest) -> tuple[NicWish, ...]:
    return wish.nics or (_short_form(wish.address),)


def is_address(text: str) -> bool:
    """True for an address without a prefix."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _short_form(address: str) -> NicWish:
    return NicWish(address6=address) if ":" in address else NicWish(address=address)


def new_mac() -> str:
    """A random address in QEMU's own range."""
    return "52:54:00:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(3))
