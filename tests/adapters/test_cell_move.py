"""What a moved application's network says and knows, by the kernel's own sockets in a network of this test's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest
from pyroute2 import IPRoute

from segue.adapters.net import cell_move
from tests.adapters.network import in_a_network

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a network of its own")
HERE, NEIGHBOUR = "10.9.0.1", "10.9.0.2"
MAC = "02:00:00:00:00:09"


def in_a_cell(work: Callable[[], None]) -> None:
    """In a network with `lo`, and `eth0` with an address."""

    def lay() -> None:
        with IPRoute() as here:
            here.link("add", ifname="eth0", kind="veth", peer={"ifname": "other"})
            for name in ("lo", "eth0", "other"):
                here.link("set", index=here.link_lookup(ifname=name)[0], state="up")
            here.addr("add", index=here.link_lookup(ifname="eth0")[0], address=HERE, prefixlen=24)
        work()

    in_a_network(lay)


def test_nothing_is_said_until_it_may_be_and_all_of_it_then() -> None:
    def look() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            voice = cell_move.mute(1)
            cell_move.mute(1).close()  # An agent that was restarted does it again.
            with socket.socket() as caller:
                caller.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    caller.connect(listener.getsockname())
            voice.fire()
            with socket.create_connection(listener.getsockname(), 5) as caller:
                called, _ = listener.accept()
                voice = cell_move.mute(1)
                caller.sendall(b"unsent")
                called.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    called.recv(6)
                voice.fire()
                called.settimeout(5)
                assert called.recv(6) == b"unsent"
                called.close()
            voice.close()

    in_a_cell(look)


def test_whom_it_knew_it_knows_elsewhere() -> None:
    said: list[bytes] = []

    def tell() -> None:
        with IPRoute() as here:
            index = here.link_lookup(ifname="eth0")[0]
            here.neigh("add", ifindex=index, dst=NEIGHBOUR, lladdr=MAC, state=cell_move.REACHABLE)
        said.append(cell_move.neighbours(1))

    def hear() -> None:
        assert cell_move.neighbours(1) == b"[]"
        for _ in range(2):
            cell_move.introduce(said[0], 1)
        assert cell_move.neighbours(1) == said[0]

    in_a_cell(tell)
    assert NEIGHBOUR.encode() in said[0]
    in_a_cell(hear)


@pytest.mark.parametrize(
    "said", [b"", b"[[0, 1]]", b'[[0, "nobody", "02:00:00:00:00:09"]]', b'[[7, "10.9.0.3", ""]]']
)
def test_nonsense_is_refused(said: bytes) -> None:
    def hear() -> None:
        with pytest.raises(ValueError, match="nobody knows"):
            cell_move.introduce(said, 1)

    in_a_cell(hear)
