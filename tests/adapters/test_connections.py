"""A process's connections, seen and ended from outside: with real sockets of this process."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from segue.adapters.net import connections


@pytest.fixture
def kept() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connected(kept: ExitStack) -> tuple[socket.socket, socket.socket]:
    """The end that called, and the one that was called."""
    listener = kept.enter_context(socket.create_server(("127.0.0.1", 0)))
    caller = kept.enter_context(socket.create_connection(listener.getsockname(), timeout=5))
    return caller, kept.enter_context(listener.accept()[0])


def is_over(caller: socket.socket) -> bool:
    caller.setblocking(False)
    try:
        return caller.recv(1) == b""
    except BlockingIOError:
        return False


def test_one_that_was_answered_stays_and_one_that_was_not_ends(kept: ExitStack) -> None:
    answered, other = connected(kept)
    other.sendall(b"yes")
    assert answered.recv(3) == b"yes"
    other.settimeout(5)
    answered.sendall(b"and")
    assert other.recv(3) == b"and"
    silent, called = connected(kept)
    silent.sendall(b"hello")
    assert called.recv(5) == b"hello"
    assert connections.hang_up(os.getpid()) >= 1
    assert is_over(silent)
    assert not is_over(answered)


def test_one_that_is_still_being_made_ends(kept: ExitStack) -> None:
    """A listener that takes no more does not answer a SYN either."""
    listener = kept.enter_context(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    callers = [kept.enter_context(socket.socket()) for _ in range(3)]
    for caller in callers:
        caller.setblocking(False)
        caller.connect_ex(listener.getsockname())
    assert connections.hang_up(os.getpid()) >= 2
    listener.close()
    for caller in callers:
        with pytest.raises(OSError, match="not connected"):
            caller.getpeername()


def test_who_listens_goes_on(kept: ExitStack) -> None:
    listener = kept.enter_context(socket.create_server(("127.0.0.1", 0)))
    connections.hang_up(os.getpid())
    kept.enter_context(socket.create_connection(listener.getsockname(), timeout=5))


def test_those_to_that_address_alone_are_hurried(kept: ExitStack) -> None:
    meant, _ = connected(kept)
    other, _ = connected(kept)
    host, port = meant.getpeername()
    assert connections.hurry(os.getpid(), host, port) == 1
    option = (socket.IPPROTO_TCP, connections.TCP_NOTSENT_LOWAT)
    assert meant.getsockopt(*option) == connections.UNSENT_BYTES
    assert other.getsockopt(*option) != connections.UNSENT_BYTES
    assert meant.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not other.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_those_to_that_address_alone_are_paced(kept: ExitStack) -> None:
    meant, called = connected(kept)
    other, _ = connected(kept)
    host, port = meant.getpeername()
    option = (socket.SOL_SOCKET, connections.SO_MAX_PACING_RATE)
    before = other.getsockopt(*option, 8)
    assert connections.pace(os.getpid(), host, port, 12_345_678) == 1
    assert int.from_bytes(meant.getsockopt(*option, 8), sys.byteorder) == 12_345_678
    assert other.getsockopt(*option, 8) == before
    connections.pace(os.getpid(), host, port, 0)
    assert meant.getsockopt(*option, 8) == before
    meant.sendall(b"on")
    assert called.recv(2) == b"on"


def test_what_is_said_in_those_that_come_in_there_is_not_held_back(kept: ExitStack) -> None:
    listener, other = (kept.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
    assert connections.answer_at_once(os.getpid(), listener.getsockname()[1]) == 1
    for listening, expected in ((listener, True), (other, False)):
        kept.enter_context(socket.create_connection(listening.getsockname(), timeout=5))
        called = kept.enter_context(listening.accept()[0])
        assert bool(called.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is expected
