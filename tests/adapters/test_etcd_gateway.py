"""What a store's caller is told when no etcd gives an answer: members that are not what they should be, on loopback."""

from __future__ import annotations

import asyncio

import pytest

from segue.adapters.store.etcd.gateway import Gateway, NoAnswer
from segue.adapters.store.etcd.place import EtcdPlace
from segue.adapters.store.etcd.shapes import Token


async def test_a_cause_that_was_found_is_not_hidden_by_a_time_that_ran_out() -> None:
    asked: list[bytes] = []

    async def first_a_word_then_silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        if len(asked) == 1:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 7\r\n\r\na proxy")
            await writer.drain()
            writer.close()
        else:
            await reader.read()

    server = await asyncio.start_server(first_a_word_then_silence, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = Gateway(EtcdPlace(endpoints=(f"http://127.0.0.1:{port}",)), limit_s=0.6, attempt_s=0.3)
    try:
        with pytest.raises(NoAnswer, match="502 b'a proxy'") as caught:
            await gateway.call("/v3/kv/range", {}, Token)
        assert caught.value.sent
        assert len(asked) > 1
    finally:
        await gateway.close()
        server.close()
