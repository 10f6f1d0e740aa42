"""Another process's TCP connections, taken by the hand: nothing waits in them for long, or they are ended."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from segue.adapters.net.tap import take_fd

# linux/tcp.h
TCP_NOTSENT_LOWAT = 25
# asm-generic/socket.h
SO_MAX_PACING_RATE = 47
NO_PACE = (1 << 64) - 1
UNSENT_BYTES = 256 << 10
"""On a path of 1 Gbit/s 2 ms. What is on its way already is not limited by it, so that a long path stays full."""
TCP_ESTABLISHED = 1
TCP_SYN_SENT = 2
BYTES_RECEIVED = struct.Struct("=B127xQ")
"""Of struct tcp_info the state, and tcpi_bytes_received."""


def hurry(pid: int, host: str, port: int) -> int:
    """Of process `pid` all connections to that address; how many there are.

    Linux lets a socket take 4 MB and more ahead of a slow path (tcp_wmem): 32 ms of a blackout at 1 Gbit/s. And it
    holds back the last bytes of what is written until those before are acknowledged (RFC 1122, 4.2.3.4), which takes
    40 ms where the other end has nothing to say: the end of the devices' state, now and then.
    """
    tcp = socket.IPPROTO_TCP
    return _set(pid, host, port, (tcp, TCP_NOTSENT_LOWAT, UNSENT_BYTES), (tcp, socket.TCP_NODELAY, 1))


def pace(pid: int, host: str, port: int, bytes_per_s: int) -> int:
    """Of process `pid` those to that address send no faster than that, and evenly (socket(7), SO_MAX_PACING_RATE);
    0 for as fast as they can. How many there are."""
    rate = struct.pack("Q", bytes_per_s or NO_PACE)
    return _set(pid, host, port, (socket.SOL_SOCKET, SO_MAX_PACING_RATE, rate))


def answer_at_once(pid: int, port: int) -> int:
    """Of process `pid` those that will come in at that port: what it says in them is never held back. How many
    sockets listen there."""
    found = 0
    for copied in _sockets(pid):
        with contextlib.suppress(OSError):
            if copied.getsockname()[1] == port and copied.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                copied.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Handed on by Linux to each.
                found += 1
    return found


def hang_up(pid: int) -> int:
    """Ends those connections of process `pid` in which nobody has ever answered, also those that it is still trying
    to make; how many there were. Whoever waits in one hears of it at once."""
    found = 0
    for copied in _sockets(pid):
        with contextlib.suppress(OSError):  # It ended in this moment.
            if _is_unanswered(copied):
                copied.shutdown(socket.SHUT_RDWR)
                found += 1
    return found


def _is_unanswered(copied: socket.socket) -> bool:
    info = copied.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_RECEIVED.size)
    state, received = BYTES_RECEIVED.unpack(info)
    return bool(state == TCP_SYN_SENT or (state == TCP_ESTABLISHED and received == 0))


def _set(pid: int, host: str, port: int, *options: tuple[int, int, int | bytes]) -> int:
    """Of process `pid` those to that address get these options (level, name, value); how many there are."""
    found = 0
    for copied in _sockets(pid):
        with contextlib.suppress(OSError):  # Not connected.
            if copied.getpeername()[:2] == (host, port):
                for option in options:
                    copied.setsockopt(*option)
                found += 1
    return found


def _sockets(pid: int) -> Iterator[socket.socket]:
    """Copies of those for TCP over IP, each closed when the next is taken."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if not os.readlink(entry).startswith("socket:"):
                continue
            copied = socket.socket(fileno=take_fd(pid, int(entry.name)))
        except OSError:
            continue  # Closed while we looked.
        with copied:
            if copied.family in {socket.AF_INET, socket.AF_INET6} and copied.type == socket.SOCK_STREAM:
                yield copied
