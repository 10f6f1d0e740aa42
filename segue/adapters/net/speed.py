"""How fast a path is: one plain TCP stream for a fraction of a second, timed where it arrives. It carries zeros."""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
import time
from dataclasses import dataclass

from segue.adapters.inlet import Inlet

SPAN_S = 0.3
"""Long enough for TCP to reach the speed of a path of 1 Gbit/s; a client of the path hardly notices."""
BYTES_MAX = 48 << 20
"""A fast path is not kept busy for longer than it takes to know that it is fast."""
TAKEN_BYTES_MAX = 192 << 20
"""An agent of an earlier version sends up to half of it."""
SETTLE_S = 0.06
"""Not counted: TCP still grows, and a shaper's bucket still gives its credit away."""
LEAST_S = 0.02
OPEN_S = 5.0
CHUNK = bytes(256 << 10)
TOKEN_BYTES = 16
ANSWER = struct.Struct("!d")


@dataclass(frozen=True)
class Opening:
    """Where to send to, and the word that proves that it was us who asked."""

    port: int
    token: str


class _Meter(asyncio.BufferedProtocol):
    """Counts what arrives after the right token; answers with bytes per second when the sender has ended."""

    def __init__(self, token: bytes, done: asyncio.Event) -> None:
        self._token = token
        self._done = done
        self._buffer = memoryview(bytearray(1 << 20))
        self._head = b""
        self._bytes = 0
        self._first_s = self._settled_s = self._last_s = 0.0
        self._settled_bytes = 0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._transport is not None
        now_s = time.monotonic()
        if len(self._head) < TOKEN_BYTES:
            self._head += bytes(self._buffer[: min(nbytes, TOKEN_BYTES - len(self._head))])
            self._first_s = now_s
            if len(self._head) == TOKEN_BYTES and not secrets.compare_digest(self._head, self._token):
                self._transport.abort()
            return
        self._bytes, self._last_s = self._bytes + nbytes, now_s
        if not self._settled_s and now_s - self._first_s >= SETTLE_S:
            self._settled_s, self._settled_bytes = now_s, self._bytes
        if self._bytes > TAKEN_BYTES_MAX:
            self._transport.abort()

    def eof_received(self) -> bool:
        assert self._transport is not None
        self._transport.write(ANSWER.pack(self._bytes_per_s()))
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._done.set()

    def _bytes_per_s(self) -> float:
        """Of the settled part, where there was one."""
        if self._settled_s and self._last_s - self._settled_s >= LEAST_S:
            return (self._bytes - self._settled_bytes) / (self._last_s - self._settled_s)
        return self._bytes / max(self._last_s - self._first_s, 1e-6)


async def open_sink(inlet: Inlet) -> tuple[Opening, asyncio.Task[None]]:
    """Listens for one stream, for a few seconds; the task ends when all is over. Raises OSError, Refused."""
    token, done = secrets.token_bytes(TOKEN_BYTES), asyncio.Event()
    server = await asyncio.get_running_loop().create_server(lambda: _Meter(token, done), sock=inlet.listen())
    port = int(server.sockets[0].getsockname()[1])

    async def serve() -> None:
        async with server:
            try:
                async with asyncio.timeout(OPEN_S):
                    await done.wait()
            except TimeoutError:
                return

    return Opening(port, token.hex()), asyncio.create_task(serve(), name=f"speed probe at {port}")


async def measure_bytes_per_s(host: str, opening: Opening) -> float:
    """Sends zeros for a moment; what the other side says arrived. Raises OSError, TimeoutError."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(OPEN_S):
        found = await loop.getaddrinfo(host, opening.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, where = found[0]
        with socket.socket(family, kind, protocol) as stream:
            stream.setblocking(False)
            await loop.sock_connect(stream, where)
            await loop.sock_sendall(stream, bytes.fromhex(opening.token))
            begun_s, sent = time.monotonic(), 0
            while time.monotonic() - begun_s < SPAN_S and sent < BYTES_MAX:
                await loop.sock_sendall(stream, CHUNK)
                sent += len(CHUNK)
            stream.shutdown(socket.SHUT_WR)
            answer = await loop.sock_recv(stream, ANSWER.size)
    if len(answer) < ANSWER.size:
        raise ConnectionError("the speed probe was cut off")
    return float(ANSWER.unpack(answer)[0])
