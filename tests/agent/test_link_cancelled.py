"""An agent that is told to stop just as its connection breaks stops: the next connection is not begun."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from segue.agent import link


async def test_a_cancel_that_comes_while_a_connection_breaks_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    breaks = asyncio.Event()

    async def report() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            breaks.set()
            await asyncio.sleep(0.05)

    async def run(_: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(report())
            await asyncio.sleep(0)
            raise ConnectionError("it broke")

    monkeypatch.setattr(link._Link, "run", run)
    way: Any = SimpleNamespace(controllers=("https://192.0.2.1:7440",))
    here: Any = None
    keeping = asyncio.create_task(link.keep(way, here))
    await breaks.wait()
    keeping.cancel()
    await asyncio.wait({keeping}, timeout=5)
    assert keeping.cancelled()
