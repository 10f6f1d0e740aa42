"""Spans reach a real receiver of OTLP as they were, and whatever it does holds nobody up."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from segue.adapters import spans
from segue.adapters.spans import WAITING_MOST, Sender
from segue.model.trace import Span, Trace
from tests import otlp

LIMIT_S = 30.0
TRACE = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7")
ROOT = Span("migrate", TRACE.span, TRACE.parent, 100.25, 105.5, (("segue.vm.name", "web1"), ("n", 7)))
STEP = Span("hand off", "1" * 16, TRACE.span, 103.0, 103.5, events=(("stopped", 103.125),), fault="it broke")


class Receiver:
    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        self.booked: Counter[str] = Counter()
        self.port = 0

    async def open(self, status: int = 200) -> asyncio.Server:
        server = await otlp.serve("127.0.0.1", 0, self._got, status)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _got(self, body: bytes) -> None:
        self.requests.append(ExportTraceServiceRequest.FromString(body))

    def sender(self) -> Sender:
        url = f"http://127.0.0.1:{self.port}/v1/traces"
        return Sender(url, "segue-agent", "host1", lambda result, n: self.booked.update({result: n}))

    async def until_booked(self, result: str, number: int) -> None:
        until_s = time.monotonic() + LIMIT_S
        while self.booked[result] < number:
            assert time.monotonic() < until_s, self.booked
            await asyncio.sleep(0.01)


async def test_spans_arrive_as_they_were() -> None:
    receiver = Receiver()
    async with await receiver.open():
        receiver.sender().send(TRACE, [ROOT, STEP])
        await receiver.until_booked("sent", 2)
    (told,) = receiver.requests[0].resource_spans
    names = {pair.key: pair.value.string_value for pair in told.resource.attributes}
    assert (names["service.name"], names["service.instance.id"]) == ("segue-agent", "host1")
    root, step = told.scope_spans[0].spans
    assert root.trace_id.hex() == step.trace_id.hex() == TRACE.id
    assert (root.span_id.hex(), root.parent_span_id.hex()) == (TRACE.span, TRACE.parent)
    assert step.parent_span_id.hex() == TRACE.span
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (100_250_000_000, 105_500_000_000)
    assert {pair.key for pair in root.attributes} == {"segue.vm.name", "n"}
    assert (step.events[0].name, step.events[0].time_unix_nano) == ("stopped", 103_125_000_000)
    assert (step.status.code, step.status.message) == (2, "it broke")


async def test_a_trace_that_is_not_to_be_recorded_is_not_sent() -> None:
    receiver = Receiver()
    async with await receiver.open():
        sender = receiver.sender()
        sender.send(Trace(TRACE.id, TRACE.span, sampled=False), [ROOT])
        sender.send(Trace(), [ROOT])
        sender.send(TRACE, [STEP])
        await receiver.until_booked("sent", 1)
    assert len(receiver.requests) == 1


async def test_a_collector_that_refuses_is_booked() -> None:
    receiver = Receiver()
    async with await receiver.open(status=400):
        receiver.sender().send(TRACE, [ROOT, STEP])
        await receiver.until_booked("failed", 2)


async def test_a_collector_that_never_answers_holds_nobody_up() -> None:
    receiver = Receiver()

    async def silent(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LIMIT_S)

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    sender = receiver.sender()
    begun_s = time.monotonic()
    for _ in range(WAITING_MOST + 10):
        sender.send(TRACE, [ROOT])
    assert time.monotonic() - begun_s < 1.0
    assert receiver.booked["dropped"] >= 9, "what waits is bounded"
    server.close()


def test_urls() -> None:
    assert not spans.wrong("")
    assert not spans.wrong("https://collector:4318/v1/traces")
    for url in ("collector:4318", "http://collector:4318", "ftp://x/v1/traces", "http:///v1/traces"):
        assert "whole URL" in spans.wrong(url)
