"""What a host offers its guests to be plugged into: plain bridges, and overlay networks that segue makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VXLAN_OVERHEAD_BYTES: Final = 50
"""Outer Ethernet, IPv4, UDP and VXLAN headers: 14 + 20 + 8 + 8 (RFC 7348)."""


@dataclass(frozen=True)
class NetworkFacts:
    """One network as a host has it. `vni` is 0 for a plain bridge; two hosts must agree on it and on the MTU."""

    bridge: str
    mtu: int
    vni: int = 0
