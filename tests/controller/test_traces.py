"""A controller's span is told once, by whoever leads when the migration ends, and is the root of its trace."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from segue.policy import spans
from tests import otlp
from tests.controller.rig import Process, Rig


class Collector:
    """Spans with the service that sent each."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []

    async def open(self) -> tuple[asyncio.Server, str]:
        server = await otlp.serve("127.0.0.1", 0, self._got)
        return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"

    def _got(self, body: bytes) -> None:
        for told in ExportTraceServiceRequest.FromString(body).resource_spans:
            names = {pair.key: pair.value.string_value for pair in told.resource.attributes}
            for scope in told.scope_spans:
                self.spans += [(names["service.instance.id"], span) for span in scope.spans]


async def moving(rig: Rig, url: str) -> tuple[dict[str, Process], str]:
    """Two controllers, two hosts, a guest on its way; the leader's name."""
    controllers = {name: rig.start(name, "--traces", url) for name in ("c1", "c2")}
    one = await rig.host("host1")
    await rig.host("host2")
    await rig.up(2)
    one.add("web1")
    await rig.until("it is known", lambda: rig.caller().call("GET", "/status")["guests"] == 1)
    await rig.call("POST", "/guests/web1/migrations", {"to": "host2"})
    await rig.until("it is under way", lambda: rig.caller().call("GET", "/migrations")["items"])
    return controllers, str((await rig.call("GET", "/status"))["leader"])


def record(rig: Rig) -> dict[str, Any]:
    (found,) = rig.caller().call("GET", "/migrations")["items"]
    return dict(found)


async def test_it_is_the_root_of_the_migrations_trace(rig: Rig) -> None:
    collector = Collector()
    server, url = await collector.open()
    async with server:
        _, leader = await moving(rig, url)
        await rig.until("its span has come", lambda: collector.spans)
        trace = record(rig)["trace"]
        ((who, span),) = collector.spans
    assert who == leader
    assert span.trace_id.hex() == trace["id"]
    assert span.span_id.hex() == trace["parent"] == spans.controllers(trace["id"])
    assert span.parent_span_id == b""
    told = {pair.key: pair.value.string_value for pair in span.attributes}
    (task,) = (await rig.call("GET", "/tasks"))["items"]
    assert told["segue.task.id"] == task["id"]
    assert told["segue.vm.name"] == "web1"


@pytest.mark.slow
async def test_another_leader_tells_what_a_killed_one_began(rig: Rig) -> None:
    rig.world.move_s = 12.0
    collector = Collector()
    server, url = await collector.open()
    async with server:
        controllers, leader = await moving(rig, url)
        controllers[leader].kill()
        await rig.until("its span has come", lambda: collector.spans, 40.0)
        ((who, span),) = collector.spans
        trace = await asyncio.to_thread(lambda: record(rig)["trace"])
    assert who != leader
    assert (span.trace_id.hex(), span.span_id.hex()) == (trace["id"], trace["parent"])
