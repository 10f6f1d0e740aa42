"""Matches frames by classic BPF (socket-filter code that the kernel checks itself), for rules beside the steering's.

Not by u32: its tables are numbered for the whole device, and the steering's rule has to have the first number.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Final

from pyroute2.netlink.rtnl.tcmsg import plugins, sched_bpf
from pyroute2.netlink.rtnl.tcmsg.common_act import get_tca_action

# linux/filter.h, linux/bpf_common.h
LOAD_HALF, LOAD_WORD, JUMP, JUMP_EQUAL, RETURN = 0x28, 0x20, 0x05, 0x15, 0x06
LOAD_BYTE, LOAD_BYTE_BEHIND, HEADER_LENGTH, AND, JUMP_IF_ANY = 0x30, 0x50, 0xB1, 0x54, 0x45
ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD
TCP, SYN, SYN_OR_ACK, FRAGMENT_OFFSET = 6, 0x02, 0x12, 0x1FFF
MATCH, NO_MATCH = 0xFFFFFFFF, 0
TC_ACT_SHOT = 2
ACT_DIRECT: Final = 1
"""TCA_BPF_FLAG_ACT_DIRECT: what the code returns is what becomes of the frame."""
KIND: Final = "bpf"


def addressed_to(address: int) -> bytes:
    """Code that matches IPv4 packets to this address, and ARP questions and answers for it. Offsets are the frame's."""
    code = (
        (LOAD_HALF, 0, 0, 12),
        (JUMP_EQUAL, 0, 2, ETH_P_ARP),
        (LOAD_WORD, 0, 0, 38),
        (JUMP, 0, 0, 2),
        (JUMP_EQUAL, 0, 3, ETH_P_IP),
        (LOAD_WORD, 0, 0, 30),
        (JUMP_EQUAL, 0, 1, address),
        (RETURN, 0, 0, MATCH),
        (RETURN, 0, 0, NO_MATCH),
    )
    return _packed(code)


def calls() -> bytes:
    """Code that matches the first segment of every TCP connection, by IPv4 and IPv6. Offsets are the frame's."""
    code = (
        (LOAD_HALF, 0, 0, 12),
        (JUMP_EQUAL, 0, 7, ETH_P_IP),
        (LOAD_BYTE, 0, 0, 23),
        (JUMP_EQUAL, 0, 11, TCP),
        (LOAD_HALF, 0, 0, 20),
        (JUMP_IF_ANY, 9, 0, FRAGMENT_OFFSET),
        (HEADER_LENGTH, 0, 0, 14),
        (LOAD_BYTE_BEHIND, 0, 0, 14 + 13),
        (JUMP, 0, 0, 4),
        (JUMP_EQUAL, 0, 5, ETH_P_IPV6),
        (LOAD_BYTE, 0, 0, 20),
        (JUMP_EQUAL, 0, 3, TCP),
        (LOAD_BYTE, 0, 0, 14 + 40 + 13),
        (AND, 0, 0, SYN_OR_ACK),
        (JUMP_EQUAL, 1, 0, SYN),
        (RETURN, 0, 0, NO_MATCH),
        (RETURN, 0, 0, MATCH),
    )
    return _packed(code)


def nothing_passes() -> dict[str, Any]:
    """A rule that drops every frame. An action that does so (act_gact) is not in every kernel."""
    return {"code": _packed(((RETURN, 0, 0, TC_ACT_SHOT),)), "flags": ACT_DIRECT}


def _packed(code: Sequence[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("HBBI", *line) for line in code)


class _Options(sched_bpf.options):  # type: ignore[misc]
    """pyroute2 knows this classifier, but only with programs that were loaded before."""

    nla_map = tuple(
        (name, {"TCA_BPF_OPS_LEN": "uint16", "TCA_BPF_OPS": "cdata"}.get(name, kind))
        for name, kind in sched_bpf.options.nla_map
    )


def _parameters(wish: dict[str, Any]) -> dict[str, Any]:
    if "code" not in wish:
        return dict(sched_bpf.get_parameters(wish))
    attributes = [["TCA_BPF_OPS_LEN", len(wish["code"]) // 8], ["TCA_BPF_OPS", wish["code"]]]
    if "flags" in wish:
        return {"attrs": [*attributes, ["TCA_BPF_FLAGS", wish["flags"]]]}
    return {"attrs": [["TCA_BPF_ACT", get_tca_action(wish)], *attributes]}


plugins[KIND] = SimpleNamespace(
    options=_Options,
    get_parameters=_parameters,
    fix_request=sched_bpf.fix_request,
    parent=sched_bpf.parent,
)
