"""Questions to Prometheus: what its answers look like (its API's page of 3.x), and what counts as no answer."""

from __future__ import annotations

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

    async def query(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        self.asked.append(request.query["query"])
        if isinstance(self.answer, str):
            return aiohttp.web.Response(text=self.answer, status=self.status)
        return aiohttp.web.json_response(self.answer, status=self.status)


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
        ("<html>it works</html>", 200, "Expecting value"),
        ("[]", 200, "no answer of Prometheus"),
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
