"""The webhook against receivers that refuse, hang, and come back: in order, again, and who hands it in never waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from segue.adapters import webhook
from segue.adapters.webhook import Hook

LIMIT_S = 20.0


class Receiver:
    """Answers by what it is told; keeps what it took."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.seen = 0
        self.taken: list[str] = []
        self.hangs = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.seen += 1
        status = self.answers.pop(0) if self.answers else 204
        if status == 0:
            await self.hangs.wait()
        if status == 204:
            self.taken.append(await request.text())
        return web.Response(status=status or 204)


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(webhook, "PAUSES_S", (0.01,) * 5)
    monkeypatch.setattr(webhook, "TRY_S", 0.2)
    made, app = Receiver(), web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    made.hangs.set()
    await runner.cleanup()


async def booked(receiver: Receiver, bodies: list[bytes], answers: list[int]) -> list[str]:
    """What became of each."""
    receiver.answers = answers
    results: list[str] = []
    hook = Hook(receiver.url, results.append)
    for body in bodies:
        hook.post(body)
    running = asyncio.create_task(hook.run())
    async with asyncio.timeout(LIMIT_S):
        while len(results) < len(bodies):
            await asyncio.sleep(0.01)
    running.cancel()
    return results


async def test_one_that_answers_500_for_a_while_gets_all_in_order(receiver: Receiver) -> None:
    assert await booked(receiver, [b"one", b"two"], [500, 503, 500, 204]) == ["sent", "sent"]
    assert receiver.taken == ["one", "two"]


async def test_one_that_hangs_delays_and_loses_nothing(receiver: Receiver) -> None:
    assert await booked(receiver, [b"one", b"two"], [0, 0, 204]) == ["sent", "sent"]
    assert receiver.taken == ["one", "two"]


async def test_one_that_takes_nothing_gets_the_next_all_the_same(receiver: Receiver) -> None:
    assert await booked(receiver, [b"one", b"two"], [500] * 6) == ["failed", "sent"]
    assert (receiver.seen, receiver.taken) == (7, ["two"])


async def test_what_nobody_takes_fills_no_memory() -> None:
    results: list[str] = []
    hook = Hook("http://127.0.0.1:9/hook", results.append)
    for _ in range(webhook.WAITING_MOST + 3):
        hook.post(b"x")
    assert results == ["dropped"] * 3
