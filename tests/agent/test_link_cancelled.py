"""An agent that is told to stop just as its connection breaks stops: the next connection is not begun."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from segue.agent import link
from segue.agent.here import ThisHost
from segue.agent.notices import Notices


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


@pytest.mark.parametrize("later", range(6))
async def test_a_report_that_is_ended_as_something_changes_ends(later: int) -> None:
    """On Python 3.11 `asyncio.wait_for` forgot the cancel, and the agent never connected again (seed 174)."""
    agent: Any = SimpleNamespace(services=SimpleNamespace(notices=Notices()))
    here = ThisHost(agent)
    waiting = asyncio.create_task(here.change(10.0))
    for _ in range(3):
        await asyncio.sleep(0)
    here._changed.set()
    for _ in range(later):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting}, timeout=5)
    here._watching.cancel()
    assert waiting.cancelled()
