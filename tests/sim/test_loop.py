"""Virtual time passes only where nothing is to be done, and a killed process has no last words."""

from __future__ import annotations

import asyncio

import pytest

from segue.sim.loop import Process, Stuck, VirtualLoop


def test_a_day_passes_at_once_and_in_order() -> None:
    loop, seen = VirtualLoop(), []

    async def sleeper(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, loop.time()))

    async def main() -> None:
        await asyncio.gather(sleeper("late", 86400.0), sleeper("soon", 1.5))

    loop.run(main())
    assert seen == [("soon", 1.5), ("late", 86400.0)]


def test_limits_hold_in_virtual_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3.0):
                await asyncio.get_running_loop().create_future()
        return asyncio.get_running_loop().time()

    assert VirtualLoop().run(main()) == 3.0


def test_a_killed_process_runs_not_even_a_finally_and_a_frozen_one_is_late() -> None:
    loop, seen = VirtualLoop(), []

    async def work(name: str) -> None:
        try:
            await asyncio.sleep(1.0)
            seen.append((name, loop.time()))
        finally:
            seen.append((f"{name} ends", loop.time()))

    async def main() -> None:
        one, two = Process("one"), Process("two")
        one.start(loop, work("one"))
        two.start(loop, work("two"))
        await asyncio.sleep(0.5)
        one.kill()
        two.freeze()
        await asyncio.sleep(9.5)
        two.thaw(loop)
        await asyncio.sleep(1.0)

    loop.run(main())
    assert seen == [("two", 10.0), ("two ends", 10.0)]


def test_what_can_never_go_on_is_said() -> None:
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    async def circles() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="nothing is left"):
        VirtualLoop().run(waits())
    with pytest.raises(Stuck, match="round in circles"):
        VirtualLoop().run(circles())
