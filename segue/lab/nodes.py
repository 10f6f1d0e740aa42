"""The machines of a lab and what follows from their names, such as addresses; touches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from segue.errors import Kind, Refused

NETWORK: Final = "10.77.0.0/16"
PREFIX_BITS: Final = 16
# Hosts wrap each other's frames, so between hosts a packet may be larger than anywhere else.
HOSTS_NETWORK: Final = "10.77.0.0/25"
FABRIC_MTU: Final = 1600
GUEST_MTU: Final = 1500
AGENT_PORT: Final = 7443
CONTROLLER_PORT: Final = 7440
ETCD_PORT: Final = 2379
ETCD_PEER_PORT: Final = 2380
BMC_PORT: Final = 8000
OVERLAY_VNI: Final = 77
"""Of the network `blue`, which segue makes on every host of the lab."""
HOSTS_MAX: Final = 100
CLIENTS_MAX: Final = 50
CONTROLLERS_MAX: Final = 9
ETCD_SIZES: Final = (0, 1, 3, 5)
"""An even number of members survives no more losses than one less."""


class Role(StrEnum):
    """What a machine of the lab is for."""

    HOST = "host"
    CLIENT = "client"
    CONTROLLER = "controller"
    ETCD = "etcd"
    FABRIC = "fabric"


@dataclass(frozen=True, order=True)
class Node:
    """One machine of the lab."""

    role: Role
    number: int

    @property
    def name(self) -> str:
        return "fabric" if self.role is Role.FABRIC else f"{self.role}{self.number}"

    @property
    def address(self) -> str:
        """Empty for the fabric, which is a cable and not a peer."""
        firsts = {Role.HOST: 10, Role.CONTROLLER: 130, Role.ETCD: 150, Role.CLIENT: 200}
        first = firsts.get(self.role)
        return "" if first is None else f"10.77.0.{first + self.number}"

    @property
    def mac(self) -> str:
        """Fixed, so that a restarted machine is the same one to its neighbours."""
        kinds = {Role.FABRIC: 0, Role.HOST: 1, Role.CLIENT: 2, Role.CONTROLLER: 3, Role.ETCD: 4}
        kind = kinds[self.role]
        return f"02:73:67:00:{kind:02x}:{self.number:02x}"

    @property
    def interface(self) -> str:
        """The interface that carries the address."""
        return "br0" if self.role in {Role.HOST, Role.FABRIC} else "eth0"

    @property
    def port(self) -> int:
        """Where its service listens; 0: it has none."""
        ports = {Role.HOST: AGENT_PORT, Role.CONTROLLER: CONTROLLER_PORT, Role.ETCD: ETCD_PORT}
        return ports.get(self.role, 0)


def bmc_address(host: Node) -> str:
    """Its BMC is a machine beside it: it answers while the host has no power, and while its link is cut."""
    return f"10.77.1.{10 + host.number}"


def bmc_url(host: Node) -> str:
    return f"http://{bmc_address(host)}:{BMC_PORT}"


FABRIC: Final = Node(Role.FABRIC, 0)


def hosts(count: int) -> list[Node]:
    return [Node(Role.HOST, number) for number in range(1, _within(count, HOSTS_MAX, "hosts") + 1)]


def clients(count: int) -> list[Node]:
    return [Node(Role.CLIENT, number) for number in range(1, _within(count, CLIENTS_MAX, "clients") + 1)]


def controllers(count: int) -> list[Node]:
    numbers = range(1, _within(count, CONTROLLERS_MAX, "controllers") + 1)
    return [Node(Role.CONTROLLER, number) for number in numbers]


def etcd_members(count: int) -> list[Node]:
    if count not in ETCD_SIZES:
        raise Refused(
            what=f"cannot make {count} etcd members",
            why="a cluster has 1, 3 or 5: an even number survives no more losses than one less",
            todo="Ask for 3.",
            kind=Kind.USAGE,
        )
    return [Node(Role.ETCD, number) for number in range(1, count + 1)]


def _within(count: int, most: int, what: str) -> int:
    if not 0 <= count <= most:
        raise Refused(
            what=f"cannot make {count} {what}",
            why=f"the lab's address plan has room for 0 to {most}",
            todo=f"Ask for at most {most} {what}.",
            kind=Kind.USAGE,
        )
    return count


def parse(name: str) -> Node:
    """The machine of that name, whether or not the lab has it."""
    if name == FABRIC.name:
        return FABRIC
    match = re.fullmatch(r"(host|client|controller|etcd)([1-9]\d{0,2})", name)
    if match is None:
        raise unknown(name, ())
    return Node(Role(match[1]), int(match[2]))


def unknown(name: str, known: Iterable[str]) -> Refused:
    """The one text for a machine that is not there."""
    names = ", ".join(known)
    return Refused(
        what=f"there is no machine {name} in this lab",
        why=f"it has {names}" if names else "machines are called host1, client1 and so on",
        todo="See `segue lab status` for the names.",
        kind=Kind.NOT_FOUND,
    )
