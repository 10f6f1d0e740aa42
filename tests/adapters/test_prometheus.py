"""Questions to Prometheus: what its answers look like (its API's page of 3.x), and what counts as no answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp.web
import pytest

from segue.adapters import prometheus
from segue.errors import Refused


class Server:
    """Answers by HTTP as it is told to."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.status = 200
        self.asked: list[str] = []
        self.url = ""
        self.pieces = 1

    async def query(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        self.asked.append(request.query["query"])
        if self.pieces > 1:
            return await self._slowly(request)
        if isinstance(self.answer, str):
            return aiohttp.web.Response(text=self.answer, status=self.status)
        return aiohttp.web.json_response(self.answer, status=self.status)

    async def _slowly(self, request: aiohttp.web.Request) -> aiohttp.web.StreamResponse:
        raw = json.dumps(self.answer).encode()
        response = aiohttp.web.StreamResponse()
        await response.prepare(request)
        for at in range(self.pieces):
            piece = len(raw) // self.pieces + 1
            await response.write(raw[at * piece : (at + 1) * piece])
            await asyncio.sleep(0.01)
        return response


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = aiohttp.web.Application()
    app.router.add_get("/api/v1/query", made.query)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    yield made
    await runner.cleanup()


def vector(*metrics: dict[str, str]) -> dict[str, Any]:
    result = [{"metric": metric, "value": [1732640000.1, "1"]} for metric in metrics]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def test_alerts_in_words(server: Server) -> None:
    server.answer = vector(
        {"__name__": "ALERTS", "alertname": "HostDown", "alertstate": "firing", "instance": "h7"},
        {"__name__": "up", "job": "web"},
    )
    query = 'ALERTS{alertstate="firing"}'
    assert await prometheus.found(server.url, query) == ["HostDown (instance=h7)", "up (job=web)"]
    assert server.asked == [query]


async def test_nothing_and_zero_are_all_well(server: Server) -> None:
    server.answer = vector()
    assert await prometheus.found(server.url, "x") == []
    server.answer = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "0"]}}
    assert await prometheus.found(server.url, "x") == []
    server.answer["data"]["result"][1] = "2"
    assert await prometheus.found(server.url, "x") == ["a value"]


@pytest.mark.parametrize(
    ("answer", "status", "why"),
    [
        ({"status": "error", "errorType": "bad_data", "error": "parse error at char 3"}, 400, "parse error"),
        ("<html>it works</html>", 200, "no Prometheus: b'<html>it works"),
        ("[]", 200, "no Prometheus"),
        ("[" * 100_000, 200, "no Prometheus"),
        ({"status": "success"}, 200, "neither series nor a number"),
        ({"status": "success", "data": ["nonsense"]}, 200, "neither series nor a number"),
        ({"status": "success", "data": {"result": {"odd": 1}}}, 200, "neither series nor a number"),
        (
            {"status": "success", "data": {"resultType": "vector", "result": ["odd"]}},
            200,
            "neither series nor",
        ),
        ({"status": "success", "data": {"resultType": "scalar", "result": []}}, 200, "neither series nor"),
        (
            {"status": "success", "data": {"resultType": "scalar", "result": [1, []]}},
            200,
            "could not convert",
        ),
        ({}, 500, "no success (500)"),
    ],
)
async def test_what_is_no_answer_is_refused(server: Server, answer: Any, status: int, why: str) -> None:
    server.answer, server.status = answer, status
    with pytest.raises(Refused) as refused:
        await prometheus.found(server.url, "x")
    assert why in refused.value.why


async def test_nobody_there() -> None:
    with pytest.raises(Refused, match="alerts are not known"):
        await prometheus.found("http://127.0.0.1:1", "x")


async def test_an_answer_that_comes_in_pieces_is_read_whole(server: Server) -> None:
    server.answer, server.pieces = (
        vector(*({"alertname": f"A{n}", "pad": "x" * 1000} for n in range(300))),
        20,
    )
    assert len(await prometheus.found(server.url, "x")) == 300
    server.answer = vector(*({"alertname": f"A{n}", "pad": "x" * 10_000} for n in range(300)))
    with pytest.raises(Refused, match="let the query give less"):
        await prometheus.found(server.url, "x")


async def test_a_series_with_odd_labels_counts(server: Server) -> None:
    server.answer = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": [1]}]}}
    assert await prometheus.found(server.url, "x") == ["a value"]
