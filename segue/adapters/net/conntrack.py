"""The kernel's table of connections: what a stateful firewall remembers of a guest, read here and written there.

An entry travels as the kernel wrote it, less what only counts on its own host. Nothing is known here of rules.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Final

NETLINK_NETFILTER: Final = 12
# linux/netlink.h, linux/netfilter/nfnetlink.h, linux/netfilter/nfnetlink_conntrack.h, nf_conntrack_tcp.h
HEADER: Final = struct.Struct("=IHHII")
NFGEN: Final = struct.Struct("=BBH")
ATTRIBUTE: Final = struct.Struct("=HH")
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP, NLM_F_CREATE = 0x1, 0x4, 0x300, 0x400
NESTED: Final = 0x8000
CT_NEW, CT_GET, CT_DELETE = 0x100, 0x101, 0x102
TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, TIMEOUT, MARK, ZONE, LABELS = 1, 2, 3, 4, 7, 8, 18, 22
TUPLE_IP: Final = 1
PROTOINFO_TCP: Final = 1
TCP_FLAGS: Final = frozenset({4, 5})
BE_LIBERAL: Final = 0x08
"""The sequence numbers that this kernel has not seen are no reason to call a packet invalid."""
TRAVELS: Final = frozenset({TUPLE_ORIG, TUPLE_REPLY, STATUS, PROTOINFO, TIMEOUT, MARK, ZONE, LABELS})
KEY: Final = frozenset({TUPLE_ORIG, ZONE})
NAT: Final = 0x30
"""Translated connections stay: the address they are translated to is this host's own."""
ANSWER_BYTES_MAX: Final = 1 << 18
ANSWER_S: Final = 5.0
REFUSED_QUIETLY: Final = frozenset({errno.ENOENT, errno.EBUSY})
NOT_THERE: Final = frozenset({errno.EPROTONOSUPPORT, errno.EOPNOTSUPP, errno.EINVAL})


def read(addresses: Iterable[str]) -> list[bytes]:
    """Every connection of these addresses; none where the kernel has no such table, or may not show it."""
    wanted = {ipaddress.ip_address(address).packed for address in addresses}
    if not wanted:
        return []
    try:
        return [flow for flow in _dump() if concerns(flow, wanted) and not _status(flow) & NAT]
    except OSError as error:
        if error.errno in NOT_THERE:
            return []
        raise


def write(flows: Iterable[bytes], timeout_s: int = 0) -> int:
    """Makes these connections known; how many. With `timeout_s` each is forgotten after so long at the latest."""
    made = 0
    with _open() as table:
        for flow in flows:
            body = flow[:1] + b"".join(_fit(kind, data, timeout_s) for kind, data in _attributes(flow[1:]))
            made += _tell(table, CT_NEW, NLM_F_CREATE, body)
    return made


def forget(flows: Iterable[bytes]) -> None:
    """Takes these connections out; one that is not there is not an error."""
    with _open() as table:
        for flow in flows:
            key = b"".join(_packed(kind, data) for kind, data in _attributes(flow[1:]) if kind in KEY)
            _tell(table, CT_DELETE, 0, flow[:1] + key)


def likeness(flow: bytes) -> bytes:
    """Equal for a connection that has not changed but for the time that it has left."""
    return flow[:1] + b"".join(_packed(kind, data) for kind, data in _attributes(flow[1:]) if kind != TIMEOUT)


def concerns(flow: bytes, addresses: set[bytes]) -> bool:
    """Whether one end of the connection is one of these (packed) addresses."""
    for kind, data in _attributes(flow[1:]):
        if kind == TUPLE_ORIG:
            parts = dict(_attributes(data))
            return any(address in addresses for _, address in _attributes(parts.get(TUPLE_IP, b"")))
    return False


def _dump() -> Iterator[bytes]:
    with _open() as table:
        table.send(_message(CT_GET, NLM_F_DUMP, bytes([socket.AF_UNSPEC])))
        while True:
            for kind, body in _answers(table.recv(ANSWER_BYTES_MAX)):
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    _raise(body)
                parts = [(k, d) for k, d in _attributes(body[NFGEN.size :]) if k in TRAVELS]
                yield body[:1] + b"".join(_packed(k, d) for k, d in parts)


def _fit(kind: int, data: bytes, timeout_s: int) -> bytes:
    if kind == TIMEOUT and timeout_s:
        data = min(int.from_bytes(data), timeout_s).to_bytes(4)
    if kind == PROTOINFO:
        data = b"".join(_liberal(k, d) for k, d in _attributes(data))
    return _packed(kind, data)


def _liberal(kind: int, data: bytes) -> bytes:
    if kind == PROTOINFO_TCP:
        parts = [(k, bytes([d[0] | BE_LIBERAL, 0xFF]) if k in TCP_FLAGS else d) for k, d in _attributes(data)]
        return _packed(kind, b"".join(_packed(k, d, nested=False) for k, d in parts), nested=True)
    return _packed(kind, data)


def _status(flow: bytes) -> int:
    return int.from_bytes(dict(_attributes(flow[1:])).get(STATUS, b""))


def _open() -> socket.socket:
    table = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    table.settimeout(ANSWER_S)
    return table


def _tell(table: socket.socket, kind: int, flags: int, body: bytes) -> bool:
    """One request; False where the kernel refused it for a reason of that one connection."""
    table.send(_message(kind, flags | NLM_F_ACK, body))
    for answer, content in _answers(table.recv(ANSWER_BYTES_MAX)):
        if answer == NLMSG_ERROR:
            code = -struct.unpack_from("=i", content)[0]
            if code in REFUSED_QUIETLY:
                return False
            _raise(content)
    return True


def _raise(content: bytes) -> None:
    code = -struct.unpack_from("=i", content)[0]
    if code:
        raise OSError(code, f"the table of connections: {os.strerror(code)}")


def _message(kind: int, flags: int, body: bytes) -> bytes:
    content = NFGEN.pack(body[0], 0, 0) + body[1:]
    return HEADER.pack(HEADER.size + len(content), kind, NLM_F_REQUEST | flags, 1, 0) + content


def _answers(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, *_ = HEADER.unpack_from(data, at)
        yield kind, data[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size:
            raise ValueError("an attribute that is shorter than its own head")
        yield kind & 0x3FFF, data[at + ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3


def _packed(kind: int, data: bytes, *, nested: bool | None = None) -> bytes:
    """What holds a table of its own is marked as such; the kernel demands it of some."""
    if nested is None:
        nested = kind in {TUPLE_ORIG, TUPLE_REPLY, PROTOINFO}
    mark = NESTED if nested else 0
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(data), kind | mark) + data + bytes(-len(data) % 4)
