"""Alerts of a Prometheus hold a maintenance: whatever it answers, nothing begins while nobody says that all is well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp.web
import pytest

from tests.controller.rig import Rig
from tests.controller.test_maintenance import begun, fleet, order, report

pytestmark = pytest.mark.slow
FIRING = [{"metric": {"alertname": "HostDown"}, "value": [1.0, "1"]}]


def answer(result: list[Any]) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


async def test_no_host_begins_while_alerts_fire_or_nobody_knows(rig: Rig) -> None:
    told: list[tuple[int, Any]] = [(500, {})]

    async def query(request: aiohttp.web.Request) -> aiohttp.web.Response:
        status, body = told[-1]
        return aiohttp.web.json_response(body, status=status)

    app = aiohttp.web.Application()
    app.router.add_get("/api/v1/query", query)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        rig.start()
        one, two, _ = await fleet(rig)
        alerts = {"prometheus": f"http://127.0.0.1:{runner.addresses[0][1]}"}
        number = await begun(rig, order(strategy={"alerts": alerts}))

        def note() -> str:
            return str(rig.caller().call("GET", f"/tasks/{number}")["note"])

        def says(words: str) -> Callable[[], bool]:
            return lambda: words in note()

        for status, body, words in (
            (500, {}, "no success (500)"),
            (200, {"status": "success", "data": ["nonsense"]}, "neither series nor a number"),
            (200, answer(FIRING), "halted: alerts: HostDown"),
        ):
            told.append((status, body))
            await rig.until(words, says(words))
        assert {host["state"] for host in (await report(rig)).values()} == {"waiting"}
        told.append((200, answer([])))
        await rig.until("one reboots", lambda: one.boots == 1)
        told.append((200, answer(FIRING)))
        await rig.until("the next one is held", says("1 of 2 hosts done; halted: alerts"), 60.0)
        assert two.boots == 0
        told.append((200, answer([])))
        assert (await rig.ended(number, 60.0))["state"] == "done"
    finally:
        await runner.cleanup()
