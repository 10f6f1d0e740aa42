"""The speed probe over this machine's own loopback: it measures, ends by itself, and heeds its token."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from segue.adapters.inlet import Inlet
from segue.adapters.net import speed


async def test_a_stream_is_measured_and_the_port_closes() -> None:
    opening, serving = await speed.open_sink(Inlet("127.0.0.1"))
    assert await speed.measure_bytes_per_s("127.0.0.1", opening) > 0
    await asyncio.wait_for(serving, 5)
    with pytest.raises(ConnectionRefusedError):
        await speed.measure_bytes_per_s("127.0.0.1", opening)


async def test_a_stranger_learns_nothing() -> None:
    opening, serving = await speed.open_sink(Inlet("127.0.0.1"))
    with pytest.raises(ConnectionError):
        await speed.measure_bytes_per_s("127.0.0.1", replace(opening, token="00" * speed.TOKEN_BYTES))
    await asyncio.wait_for(serving, 5)
