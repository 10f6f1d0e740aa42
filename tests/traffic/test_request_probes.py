"""The request probes against servers on loopback that break, delay, refuse and forget on purpose."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from segue.errors import Kind, Refused
from segue.model.observation import Gap, Observation
from segue.traffic.probe import Protocol, Wish, run_probe
from tests.traffic import servers

ENOUGH = 60
TCP_BYTES = 200


class Count:
    """How many requests a server got; `enough` ends the probe."""

    def __init__(self) -> None:
        self.requests = 0
        self.connections = 0
        self.enough = asyncio.Event()

    def one_more(self) -> int:
        self.requests += 1
        if self.requests >= ENOUGH:
            self.enough.set()
        return self.requests


async def watch(protocol: Protocol, target: str, stop: asyncio.Event, **wish: Any) -> Observation:
    wished = Wish(protocol, target, **{"interval_s": 0.002, "drain_s": 5.0, **wish})
    return await asyncio.wait_for(run_probe(wished, stop), servers.LIMIT_S)


async def echo_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readexactly(TCP_BYTES))
    await writer.drain()


async def test_tcp_counts_every_answered_request() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await echo_once(reader, writer)
            count.one_more()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.TCP, target, count.enough)
    assert seen.sent == seen.received == count.requests
    assert (seen.lost, seen.failed, seen.retried, seen.broken_connections) == (0, 0, 0, 0)
    assert 0 < seen.latency.p50_s <= seen.latency.max_s == seen.longest_request_s


async def test_a_broken_connection_is_counted_and_its_request_is_repeated() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Breaks each connection over its eleventh request."""
        count.connections += 1
        for _ in range(10):
            await echo_once(reader, writer)
            count.one_more()
        await reader.readexactly(TCP_BYTES)
        writer.transport.abort()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.TCP, target, count.enough)
    assert seen.sent == seen.received == count.requests
    assert (seen.lost, seen.failed) == (0, 0)
    # The request that meets the break is asked again; if the probe was stopped just then, on no new connection.
    assert seen.retried == count.connections - 1
    assert seen.broken_connections == seen.retried


async def test_a_connection_closed_between_requests_is_a_broken_one() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Closes each connection, in all order, after ten answers."""
        count.connections += 1
        for _ in range(10):
            await echo_once(reader, writer)
            count.one_more()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.TCP, target, count.enough)
    assert (seen.lost, seen.failed, seen.received) == (0, 0, count.requests)
    assert seen.broken_connections == seen.retried == count.connections - 1 >= ENOUGH // 10 - 1


async def test_a_held_answer_is_the_longest_gap_and_the_longest_request() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if count.one_more() == 30:
                await asyncio.sleep(0.4)
            await echo_once(reader, writer)

    gaps: list[Gap] = []
    async with servers.tcp(serve) as target:
        wish = Wish(Protocol.TCP, target, interval_s=0.002, gap_s=0.35)
        seen = await asyncio.wait_for(run_probe(wish, count.enough, on_gap=gaps.append), servers.LIMIT_S)
    assert (seen.lost, seen.failed, seen.broken_connections) == (0, 0, 0)
    assert seen.longest_gap_s >= 0.39
    assert seen.longest_gap_s >= seen.longest_request_s >= 0.39
    assert gaps[0] == seen.gaps[0]


async def test_requests_without_an_answer_in_time_have_failed() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count.connections += 1
        while True:
            if count.one_more() in (10, 20):
                await reader.readexactly(TCP_BYTES)
                await reader.read()
                return
            await echo_once(reader, writer)

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.TCP, target, count.enough, timeout_s=0.15)
    assert (seen.failed, seen.lost, seen.broken_connections, seen.retried) == (2, 2, 2, 0)
    assert seen.sent == seen.received + 2
    assert seen.longest_request_s >= 0.15
    assert count.connections == 3


async def test_other_bytes_than_were_sent_have_failed() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            data = await reader.readexactly(TCP_BYTES)
            writer.write(data[::-1] if count.one_more() == 12 else data)
            await writer.drain()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.TCP, target, count.enough)
    assert (seen.failed, seen.lost) == (1, 1)
    assert seen.sent == seen.received + 1


async def test_each_of_several_connections_has_its_own_gaps() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The first connection hangs; the others go on meanwhile."""
        count.connections += 1
        number, answered = count.connections, 0
        while True:
            await echo_once(reader, writer)
            answered += 1
            if number == 1 and answered == 5:
                await count.enough.wait()
            count.one_more()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.TCP, target, count.enough, connections=4)
    assert count.connections == 4
    assert (seen.lost, seen.sent) == (0, seen.received)
    # 60 requests, 3 connections that work, 2 ms apart: the fourth hung for about 20 periods.
    assert seen.longest_gap_s > 10 * 0.002


async def test_http_keeps_its_connection_and_takes_a_polite_close_for_no_break() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count.connections += 1
        for turn in range(10):
            await reader.readuntil(b"\r\n\r\n")
            last = b"Connection: close\r\n" if turn == 9 else b""
            if turn % 2:
                body = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: t\r\n\r\n"
            else:
                body = b"Content-Length: 5\r\n\r\nhello"
            writer.write(b"HTTP/1.1 200 OK\r\n" + last + body)
            await writer.drain()
            count.one_more()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.HTTP, f"http://{target}/", count.enough)
    assert seen.sent == seen.received == count.requests
    assert (seen.broken_connections, seen.retried, seen.failed) == (0, 0, 0)
    assert count.connections >= ENOUGH // 10


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nbusy",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"SSH-2.0-OpenSSH_10.0\r\n",
    ],
)
async def test_http_answers_that_are_no_page_have_failed(answer: bytes) -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            page = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            writer.write(answer if count.one_more() in (7, 8) else page)
            await writer.drain()

    async with servers.tcp(serve) as target:
        seen = await watch(Protocol.HTTP, f"http://{target}/", count.enough)
    assert (seen.failed, seen.lost) == (2, 2)
    assert seen.sent == count.requests


async def test_redis_finds_every_write_that_was_kept_and_leaves_nothing() -> None:
    server, stop = servers.Redis(), asyncio.Event()
    async with servers.tcp(server.serve) as target:
        asyncio.get_running_loop().call_later(0.3, stop.set)
        seen = await watch(Protocol.REDIS, target, stop)
    assert seen.sent == seen.received == server.sets > 10
    assert seen.lost_writes == 0
    assert server.keys == {}


async def test_redis_counts_exactly_the_acknowledged_writes_that_are_gone() -> None:
    server, stop = servers.Redis(forget=lambda count: count % 9 == 0), asyncio.Event()
    async with servers.tcp(server.serve) as target:
        asyncio.get_running_loop().call_later(0.3, stop.set)
        seen = await watch(Protocol.REDIS, target, stop, connections=3)
    assert seen.lost_writes == server.forgotten > 0
    assert seen.lost == 0


async def test_a_write_without_acknowledgement_is_repeated_and_not_lost() -> None:
    server, stop = servers.Redis(hang_up=lambda count: count % 10 == 0), asyncio.Event()
    async with servers.tcp(server.serve) as target:
        asyncio.get_running_loop().call_later(0.5, stop.set)
        seen = await watch(Protocol.REDIS, target, stop)
    assert seen.broken_connections == seen.retried == server.hung_up > 0
    assert (seen.lost_writes, seen.failed, seen.lost) == (0, 0, 0)


async def test_writes_that_cannot_be_read_back_any_more_are_lost() -> None:
    server, stop = servers.Redis(), asyncio.Event()
    async with servers.tcp(server.serve) as target:

        def wipe() -> None:
            server.keys.clear()
            stop.set()

        asyncio.get_running_loop().call_later(0.2, wipe)
        seen = await watch(Protocol.REDIS, target, stop)
    assert seen.received >= seen.lost_writes > 0


@pytest.mark.parametrize("protocol", [Protocol.TCP, Protocol.REDIS, Protocol.HTTP])
async def test_a_port_where_nothing_listens_is_refused(protocol: Protocol) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    target = f"{'http://' if protocol is Protocol.HTTP else ''}127.0.0.1:{port}"
    with pytest.raises(Refused, match="Connection refused") as caught:
        await watch(protocol, target, asyncio.Event())
    assert caught.value.kind is Kind.UNREACHABLE


async def test_a_service_that_only_answers_wrongly_is_refused_with_its_words() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await servers.read_command(reader)
            writer.write(b"-NOAUTH Authentication required.\r\n")

    async with servers.tcp(serve) as target:
        with pytest.raises(Refused, match="NOAUTH Authentication required") as caught:
            await watch(Protocol.REDIS, target, asyncio.Event(), first_reply_s=1.5)
    assert caught.value.kind is Kind.UNREACHABLE


@pytest.mark.parametrize("url", ["10.77.100.1:8080", "ftp://x/", "http://", "http://x:seven/"])
async def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(Refused) as caught:
        await watch(Protocol.HTTP, url, asyncio.Event())
    assert caught.value.kind is Kind.USAGE


async def test_a_cancelled_probe_ends_its_threads() -> None:
    count = Count()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await echo_once(reader, writer)
            count.one_more()

    async with servers.tcp(serve) as target:
        task = asyncio.create_task(watch(Protocol.TCP, target, asyncio.Event()))
        await asyncio.wait_for(count.enough.wait(), servers.LIMIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
