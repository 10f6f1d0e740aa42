"""Two agents hear each other, and nothing comes through on the port that a guest's memory would take."""

from __future__ import annotations

import socket
from typing import Any

import aiohttp
import msgspec
import pytest

from segue.adapters.net import speed
from segue.adapters.peer import PeerClient
from segue.errors import Kind, Refused


class Heard(PeerClient):
    """Its agent opens a port that something in between does not let anybody reach."""

    port = 0

    async def _call(self, *_: Any, **__: Any) -> bytes:
        return msgspec.json.encode(speed.Opening(self.port, "00" * 16))


async def test_a_path_that_carries_nothing_is_told_by_its_port() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with aiohttp.ClientSession() as session:
            peer = Heard(session, "host2", "https://127.0.0.1:1", lambda *_: None)
            peer.port = closed.getsockname()[1]
            with pytest.raises(Refused, match=f"port {peer.port} of 127.0.0.1") as caught:
                await peer.speed_bytes_per_s("127.0.0.1")
    assert caught.value.kind is Kind.UNREACHABLE
    assert "firewalls" in caught.value.todo
