"""Servers on loopback that misbehave on purpose and keep their own count of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from segue.traffic.udp import HEADER

LIMIT_S = 30.0
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Echo(asyncio.DatagramProtocol):
    """A UDP echo whose `treat` decides what comes back for a packet: any number of (delay_s, packet)."""

    treat: Callable[[int, bytes], list[tuple[float, bytes]]]
    seen: Counter[int] = field(default_factory=Counter)
    answered: list[tuple[float, int]] = field(default_factory=list)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    stop_after: int = 300

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        number = HEADER.unpack_from(data)[2]
        self.seen[number] += 1
        for delay_s, packet in self.treat(number, data):
            asyncio.get_running_loop().call_later(delay_s, self._answer, packet, number, addr)
        if len(self.seen) >= self.stop_after:
            self.enough.set()

    def _answer(self, packet: bytes, number: int, addr: tuple[str, int]) -> None:
        self._transport.sendto(packet, addr)
        self.answered.append((time.time(), number))


@contextlib.asynccontextmanager
async def udp_echo(
    treat: Callable[[int, bytes], list[tuple[float, bytes]]],
) -> AsyncIterator[tuple[str, Echo]]:
    loop = asyncio.get_running_loop()
    transport, echo = await loop.create_datagram_endpoint(lambda: Echo(treat), ("127.0.0.1", 0))
    try:
        yield f"127.0.0.1:{transport.get_extra_info('sockname')[1]}", echo
    finally:
        transport.close()


@contextlib.asynccontextmanager
async def tcp(handler: Handler) -> AsyncIterator[str]:
    """A server for `handler`, which may end a connection by returning, or break it with `writer.transport.abort`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def read_command(reader: asyncio.StreamReader) -> list[str]:
    """One command of the Redis protocol; an end of the connection is an IncompleteReadError."""
    count = int((await reader.readuntil(b"\r\n"))[1:])
    words = []
    for _ in range(count):
        length = int((await reader.readuntil(b"\r\n"))[1:])
        words.append((await reader.readexactly(length + 2))[:-2].decode())
    return words


@dataclass
class Redis:
    """The three commands that the probe uses.

    `forget` says which writes are acknowledged and not kept: every other one leaves an older value in its place.
    """

    forget: Callable[[int], bool] = lambda count: False
    hang_up: Callable[[int], bool] = lambda count: False
    keys: dict[str, str] = field(default_factory=dict)
    sets: int = 0
    forgotten: int = 0
    hung_up: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            command, *words = await read_command(reader)
            if command == "SET":
                if not self._set(*words):
                    writer.transport.abort()
                    return
                writer.write(b"+OK\r\n")
            elif command == "GET":
                value = self.keys.get(words[0])
                writer.write(b"$-1\r\n" if value is None else f"${len(value)}\r\n{value}\r\n".encode())
            else:
                writer.write(f":{sum(self.keys.pop(key, None) is not None for key in words)}\r\n".encode())
            await writer.drain()

    def _set(self, key: str, value: str) -> bool:
        self.sets += 1
        if self.forget(self.sets):
            self.forgotten += 1
            if self.forgotten % 2:
                self.keys[key] = "stale"
            return True
        self.keys[key] = value
        if self.hang_up(self.sets):
            self.hung_up += 1
            return False
        return True
