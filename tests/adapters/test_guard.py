"""The filter at a listening socket, as the kernel carries it out, on loopback addresses."""

from __future__ import annotations

import os
import socket

import pytest

from segue.adapters.net import guard

FRIENDS = ("127.0.0.2", "127.0.0.3")
STRANGER = "127.0.0.4"
HEARD_S = 0.3
"""A dropped packet is never answered; a heard one at once."""


def heard(port: int, caller: str, at: str = "127.0.0.1") -> bool:
    family = socket.AF_INET6 if ":" in at else socket.AF_INET
    with socket.socket(family) as line:
        line.settimeout(HEARD_S)
        line.bind((caller, 0))
        try:
            line.connect((at, port))
        except TimeoutError:
            return False
        return True


def test_friends_are_heard_and_strangers_are_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert heard(port, STRANGER), "before the filter everybody is"
        guard.only_from(os.getpid(), port, FRIENDS)
        assert [heard(port, friend) for friend in FRIENDS] == [True, True]
        assert not heard(port, STRANGER)


def test_what_a_friend_sends_arrives_whole() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        guard.only_from(os.getpid(), port, FRIENDS)
        with socket.create_connection(("127.0.0.1", port), 5.0, (FRIENDS[1], 0)) as line:
            accepted, _ = listening.accept()
            with accepted:
                line.sendall(b"page" * 50_000)
                line.shutdown(socket.SHUT_WR)
                assert b"".join(iter(lambda: accepted.recv(1 << 16), b"")) == b"page" * 50_000


def test_six_and_four_side_by_side() -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    with listening:
        port = listening.getsockname()[1]
        guard.only_from(os.getpid(), port, ("127.0.0.2", "2001:db8::5"))
        assert not heard(port, "::1", "::1")
        guard.only_from(os.getpid(), port, ("127.0.0.2", "::1"))
        assert heard(port, "::1", "::1")


def test_nobody_is_heard_by_an_empty_list() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        guard.only_from(os.getpid(), port, ())
        assert not heard(port, "127.0.0.1")


def test_a_port_where_nobody_listens() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(FileNotFoundError):
            guard.only_from(os.getpid(), bound.getsockname()[1], FRIENDS)
