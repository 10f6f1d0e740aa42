"""A TCP connection that is read by lines and lengths, and given up at a time that may still change."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

from segue.traffic.session import SLICE_S

LINE_MAX: Final = 65536


class Broken(Exception):
    """The connection is gone: reset, closed by the other side, or never came to be."""


class GaveUp(Exception):
    """The time for an answer is over."""


class WrongAnswer(Exception):
    """An answer came, and it is not the right one."""


class Stream:
    """`left_s` says how long to wait from now on; it is asked again and again while waiting."""

    def __init__(self, sock: socket.socket, left_s: Callable[[], float]) -> None:
        self.is_open = True
        self._sock = sock
        self._left_s = left_s
        self._buffer = bytearray()

    def close(self) -> None:
        self.is_open = False
        self._sock.close()

    def send(self, data: bytes) -> None:
        try:
            self._sock.settimeout(self._wait_s(self._left_s()))
            self._sock.sendall(data)
        except TimeoutError as error:
            raise GaveUp("no answer in time") from error
        except OSError as error:
            raise Broken(_words(error)) from error

    def exactly(self, count: int) -> bytes:
        while len(self._buffer) < count:
            self._fill()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def line(self) -> bytes:
        """The next line, without its end."""
        while (end := self._buffer.find(b"\r\n")) < 0:
            if len(self._buffer) > LINE_MAX:
                raise WrongAnswer(f"a line of more than {LINE_MAX} bytes")
            self._fill()
        return self.exactly(end + 2)[:-2]

    def skip_rest(self) -> None:
        """Read until the other side closes, as it announced."""
        try:
            while True:
                self._buffer.clear()
                self._fill()
        except Broken:
            self.close()

    def _fill(self) -> None:
        while True:
            self._sock.settimeout(self._wait_s(SLICE_S))
            try:
                data = self._sock.recv(65536)
            except TimeoutError:
                continue
            except OSError as error:
                raise Broken(_words(error)) from error
            if not data:
                raise Broken("the other side closed the connection")
            self._buffer += data
            return

    def _wait_s(self, at_most_s: float) -> float:
        return _wait_s(self._left_s, at_most_s)


def connect(address: tuple[str, int], left_s: Callable[[], float], tls_name: str = "") -> Stream:
    """Raises Broken, chained to the system's error, or GaveUp."""
    sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        _await_connection(sock, address, left_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls_name:
            sock.settimeout(_wait_s(left_s, left_s()))
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=tls_name)
    except OSError as error:
        sock.close()
        raise Broken(_words(error)) from error
    except GaveUp:
        sock.close()
        raise
    return Stream(sock, left_s)


def _await_connection(sock: socket.socket, address: tuple[str, int], left_s: Callable[[], float]) -> None:
    """In slices, because a blocking connect hears nothing until the system gives up, minutes later."""
    sock.setblocking(False)
    code = sock.connect_ex(address)
    waiter = select.poll()
    waiter.register(sock, select.POLLOUT)
    while code == errno.EINPROGRESS:
        if waiter.poll(_wait_s(left_s, SLICE_S) * 1000):
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code != 0:
        raise OSError(code, os.strerror(code))


def _wait_s(left_s: Callable[[], float], at_most_s: float) -> float:
    left = left_s()
    if left <= 0:
        raise GaveUp("no answer in time")
    return min(left, at_most_s)


def _words(error: OSError) -> str:
    return error.strerror or str(error)
