"""A range of ports is kept to, whatever else listens on the host; one that is full says so."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from segue.adapters import inlet
from segue.adapters.inlet import Inlet
from segue.errors import Refused

HERE = "127.0.0.1"


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def pair() -> tuple[int, int]:
    """Two ports in a row that are free."""
    while True:
        with Inlet(HERE).listen() as first:
            port = port_of(first)
            if port == inlet.HIGHEST:
                continue
            try:
                Inlet(HERE).listen(port + 1).close()
            except OSError:
                continue
        return port, port + 1


def test_each_that_listens_gets_one_of_the_range_until_it_is_full() -> None:
    first, last = pair()
    place = Inlet(HERE, first, last)
    with ExitStack() as listeners:
        taken = [port_of(listeners.enter_context(place.listen())) for _ in range(2)]
        assert taken == [first, last]
        with pytest.raises(Refused, match=f"every port of {first} to {last} is in use"):
            place.listen()
        with pytest.raises(Refused):
            place.free_port()
    assert place.free_port() == first


def test_a_port_that_is_named_is_taken_or_nothing() -> None:
    with Inlet(HERE).listen() as listener, pytest.raises(OSError, match="in use"):
        Inlet(HERE).listen(port_of(listener))


def test_an_address_of_version_6_listens_as_well() -> None:
    with Inlet("::1").listen() as listener:
        assert listener.family is socket.AF_INET6


@pytest.mark.parametrize("ports", ["1", "9-", "80-90", "5000-4000", "60000-70000", "any", "5000 - 6000"])
def test_what_is_no_range_is_told(ports: str) -> None:
    assert "FIRST-LAST" in inlet.wrong(ports)


def test_a_range_as_it_is_written() -> None:
    assert inlet.wrong("") == inlet.wrong("49152-49407") == inlet.wrong("5000-5000") == ""
    assert inlet.of(HERE, "49152-49407") == Inlet(HERE, 49152, 49407)
    assert inlet.of(HERE, "") == Inlet(HERE)
