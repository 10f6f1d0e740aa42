"""Lets only some hosts connect to a listening socket of another process.

QEMU does the handshake of a channel in its main loop and waits there: one stranger that connects and says nothing
would halt the guest's whole process. So the kernel drops a stranger's first packet at the socket itself.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from segue.adapters.net.tap import take_fd

# asm-generic/socket.h, linux/filter.h
SO_ATTACH_FILTER = 26
SKF_AD_PROTOCOL = 0xFFFFF000  # SKF_AD_OFF + 0
SKF_NET_OFF = 0xFFF00000
LOAD_HALF, LOAD_WORD, JUMP_EQUAL, RETURN = 0x28, 0x20, 0x15, 0x06
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD
SOURCE_V4, SOURCE_V6 = SKF_NET_OFF + 12, SKF_NET_OFF + 8
PASS = 0xFFFFFFFF

Instruction = tuple[int, int, int, int]


def only_from(pid: int, port: int, addresses: Sequence[str]) -> None:
    """From now on the sockets of process `pid` that listen at `port` hear these addresses alone.

    Raises FileNotFoundError where there is none. Connections made from it inherit the filter, which fits them too.
    """
    code = b"".join(struct.pack("HBBI", *line) for line in program(addresses))
    buffer = ctypes.create_string_buffer(code)
    listening = _listeners(pid, port)
    if not listening:
        raise FileNotFoundError(f"process {pid} does not listen at port {port}")
    for found in listening:
        with found:
            words = struct.pack("HL", len(code) // 8, ctypes.addressof(buffer))
            found.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, words)


def program(addresses: Sequence[str]) -> list[Instruction]:
    """Classic BPF: a packet from one of `addresses` passes, any other is dropped."""
    lines: list[Instruction] = []
    for text in sorted(set(addresses)):
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        lines += _one(address)
    return [*lines, (RETURN, 0, 0, 0)]


def _one(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[Instruction]:
    family, offset = (ETH_P_IP, SOURCE_V4) if address.version == 4 else (ETH_P_IPV6, SOURCE_V6)
    words = struct.unpack(f"!{len(address.packed) // 4}I", address.packed)
    body: list[Instruction] = [
        (LOAD_HALF, 0, 0, SKF_AD_PROTOCOL),
        (JUMP_EQUAL, 0, 2 * len(words) + 1, family),
    ]
    for index, word in enumerate(words):
        behind = 2 * (len(words) - index) - 1  # Past the rest of this address and its RETURN.
        body += [(LOAD_WORD, 0, 0, offset + 4 * index), (JUMP_EQUAL, 0, behind, word)]
    return [*body, (RETURN, 0, 0, PASS)]


def _listeners(pid: int, port: int) -> list[socket.socket]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not os.readlink(entry).startswith("socket:"):
                continue
            made = socket.socket(fileno=take_fd(pid, int(entry.name)))
        except FileNotFoundError:
            continue  # Closed while we looked.
        internet = made.family in {socket.AF_INET, socket.AF_INET6}
        if (
            internet
            and made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            and made.getsockname()[1] == port
        ):
            found.append(made)
        else:
            made.close()
    return found
