"""Netlink messages written beforehand and sent at one stroke, for the instant in which every round trip costs."""

from __future__ import annotations

import errno
import os
import socket
import struct

from pyroute2 import IPBatch

NETLINK_ROUTE = 0
# linux/netlink.h
HEADER = struct.Struct("=IHHII")
ERROR = struct.Struct("=i")
NLMSG_ERROR = 2
ANSWER_S = 1.0
ANSWER_BYTES_MAX = 1 << 16


class Batch:
    """Messages for the routing socket: filled by `write`, sent all together by `fire`, as often as wanted."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_ROUTE)
        self._socket.settimeout(ANSWER_S)
        self._messages = b""
        self._count = 0

    def write(self, message: IPBatch) -> None:
        """Adds what was called on `message`; nothing is sent yet."""
        self._messages += bytes(message.batch)
        self._count += 1

    def fire(self) -> None:
        """One system call for all messages. Raises OSError with the first that the kernel refused."""
        self._socket.send(self._messages)
        refused = [code for code in self._answers() if code]
        if refused:
            raise OSError(-refused[0], f"the kernel refused: {os.strerror(-refused[0])}")

    def _answers(self) -> list[int]:
        codes: list[int] = []
        while len(codes) < self._count:
            try:
                codes += _codes(self._socket.recv(ANSWER_BYTES_MAX))
            except TimeoutError as error:
                raise OSError(errno.ETIMEDOUT, "the kernel did not answer on the routing socket") from error
        return codes

    def close(self) -> None:
        """Gives the socket back."""
        self._socket.close()


def _codes(answer: bytes) -> list[int]:
    """The error numbers of all acknowledgements in `answer`: 0 for a message that was carried out."""
    codes, at = [], 0
    while at < len(answer):
        length, kind, *_ = HEADER.unpack_from(answer, at)
        if kind == NLMSG_ERROR:
            codes.append(ERROR.unpack_from(answer, at + HEADER.size)[0])
        at += (length + 3) & ~3
    return codes
