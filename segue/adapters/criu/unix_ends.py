"""Whom the unix sockets of an application's network speak to, by the kernel's own table (linux/unix_diag.h)."""

from __future__ import annotations

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

CLONE_NEWNET: Final = 0x40000000
NETLINK_SOCK_DIAG: Final = 4
SOCK_DIAG_BY_FAMILY, DONE, ERROR = 20, 3, 2
REQUEST_DUMP: Final = 0x1 | 0x300
EVERY_STATE: Final = 0xFFFFFFFF
SHOW: Final = 0x4 | 0x10
PEER, QUEUES = 2, 4
HEADER: Final = struct.Struct("=IHHII")
ASKED: Final = struct.Struct("=BBHIIIII")
FOUND: Final = struct.Struct("=BBBBIII")
READ_BYTES: Final = 1 << 16
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class End:
    """One unix socket."""

    peer: int | None = None
    """The inode of its other end; None: it has none; 0: nobody has accepted it yet."""
    unread_bytes: int = 0
    """What it said and the other end has not read."""


def ends(pid: int) -> dict[int, End]:
    """By its inode, every unix socket in that process's network. Raises OSError."""
    with open(f"/proc/{pid}/ns/net", "rb") as network, ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(_inside, network.fileno()).result()


def _inside(network: int) -> dict[int, End]:
    """In a thread of its own, which ends in that network."""
    if _libc.setns(network, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as asked:
        wish = ASKED.pack(socket.AF_UNIX, 0, 0, EVERY_STATE, 0, SHOW, 0, 0)
        asked.send(HEADER.pack(HEADER.size + len(wish), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 1, 0) + wish)
        found: dict[int, End] = {}
        while _read(asked.recv(READ_BYTES), found):
            pass
        return found


def _read(said: bytes, found: dict[int, End]) -> bool:
    """Notes what one datagram says; whether there is another one."""
    for kind, body in _messages(said):
        if kind == DONE:
            return False
        if kind == ERROR:
            code = -struct.unpack_from("=i", body)[0]
            raise OSError(code, os.strerror(code))
        said_of = dict(_attributes(body[FOUND.size :]))
        peer = struct.unpack_from("=I", said_of[PEER])[0] if PEER in said_of else None
        unread = struct.unpack_from("=II", said_of[QUEUES])[1] if QUEUES in said_of else 0
        found[FOUND.unpack_from(body)[4]] = End(peer, unread)
    return True


def _messages(said: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + HEADER.size <= len(said):
        length, kind = HEADER.unpack_from(said, at)[:2]
        yield kind, said[at + HEADER.size : at + length]
        at += max(length + 3 & ~3, HEADER.size)


def _attributes(said: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(said):
        length, name = struct.unpack_from("=HH", said, at)
        yield name, said[at + 4 : at + length]
        at += max(length + 3 & ~3, 4)
