"""Finds the largest packet that really reaches another host: switches that drop large frames do not say so."""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Sequence

IP_MTU_DISCOVER, IP_PMTUDISC_PROBE = 10, 3
"""linux/in.h: never fragment, and ask neither the route nor what was learnt before."""
ECHO, REPLY = 8, 0
IP_BYTES, ICMP_BYTES = 20, 8
ANSWER_S = 0.5
TRIES = 2


def widest(address: str, sizes: Sequence[int]) -> int:
    """The largest of `sizes` (bytes of an IP packet) that is answered; 0 where none is."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as line:
        line.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
        line.connect((address, 0))
        for number, size in enumerate(sorted(sizes, reverse=True)):
            if any(_answered(line, size, number * TRIES + attempt) for attempt in range(TRIES)):
                return size
    return 0


def _answered(line: socket.socket, size: int, number: int) -> bool:
    name = os.getpid() & 0xFFFF
    body = bytes(size - IP_BYTES - ICMP_BYTES)
    head = struct.pack("!BBHHH", ECHO, 0, 0, name, number)
    head = struct.pack("!BBHHH", ECHO, 0, _checksum(head + body), name, number)
    try:
        line.send(head + body)
    except OSError:
        return False  # Larger than our own link carries.
    return _heard(line, struct.pack("!HH", name, number), time.monotonic() + ANSWER_S)


def _heard(line: socket.socket, mark: bytes, deadline: float) -> bool:
    while (left := deadline - time.monotonic()) > 0 and select.select([line], [], [], left)[0]:
        answer = line.recv(1 << 16)
        icmp = answer[(answer[0] & 15) * 4 :]
        if icmp[0] == REPLY and icmp[4:8] == mark:
            return True
    return False


def _checksum(packet: bytes) -> int:
    total = sum(struct.unpack(f"!{len(packet) // 2}H", packet[: len(packet) & ~1]))
    total += packet[-1] << 8 if len(packet) & 1 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return int(~total & 0xFFFF)
