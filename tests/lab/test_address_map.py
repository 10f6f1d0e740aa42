"""A real QEMU has its devices where another's guest has them, before any of its state has come; and loads it then."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from segue.adapters.qemu import address_map, hatch
from segue.adapters.qemu.command import Places, arguments
from segue.adapters.qemu.machine import BINARY, when_ready
from segue.adapters.qemu.monitor import Monitor
from segue.lab import images, places
from segue.model.guest import Guest
from segue.model.landing import Region
from tests.lab.base import in_base

pytestmark = pytest.mark.lab
GUEST = Guest(name="mapped", uuid="8d5b0d5c-0000-4000-8000-000000000001", memory_bytes=64 << 20, watched=True)
INSIDE = Path("/mnt")
LIMIT_S = 60.0


@asynccontextmanager
async def qemu(scratch: Path, mark: str, *, incoming: bool) -> AsyncIterator[Monitor]:
    """No kernel and no disk: the firmware gives the devices their places, and finds nothing to start."""
    seen = Places(scratch, mark)
    hatch.make(seen, os.getuid(), os.getgid())
    words = arguments(GUEST, replace(seen, folder=INSIDE), [], incoming=incoming)
    process = subprocess.Popen(in_base(scratch, BINARY, *words), stdin=subprocess.DEVNULL)
    monitor = Monitor(GUEST.name, seen.monitor)
    try:
        await when_ready(monitor.connect, process)
        yield monitor
        await monitor.close()
    finally:
        process.kill()
        process.wait()


async def mapped(source: Monitor) -> tuple[Region, ...]:
    """Once the firmware is through."""
    async with asyncio.timeout(LIMIT_S):
        while sum(region.is_master for region in await address_map.read(source)) < 4:
            await asyncio.sleep(0.05)
        return await address_map.read(source)


async def test_devices_are_mapped_before_their_state_comes(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    images.ensure_images(places.cache(), ["micro"], print)
    async with qemu(tmp_path, ".source", incoming=False) as source:
        await source.execute("cont")
        regions = await mapped(source)
        assert {region.is_io for region in regions} == {True, False}
        assert any(region.is_wide for region in regions)
        await source.execute("stop")
        await source.execute("migrate", uri=f"file:{INSIDE}/state")
        await ended(source)
    async with qemu(tmp_path, ".target", incoming=True) as target:
        assert await address_map.read(target) == ()
        await address_map.set_out(target, regions)
        assert await address_map.read(target) == regions
        moved = tuple(
            replace(region, address=region.address + (1 << 20)) for region in regions if region.is_wide
        )
        await address_map.set_out(target, moved)
        assert set(moved) <= set(await address_map.read(target)), "the test's own doing"
        await target.execute("migrate-incoming", uri=f"file:{INSIDE}/state")
        await ended(target)
        assert await address_map.read(target) == regions, "what is loaded counts"


async def ended(monitor: Monitor) -> None:
    async with asyncio.timeout(LIMIT_S):
        while (info := await monitor.execute("query-migrate"))["status"] not in {"completed", "failed"}:
            await asyncio.sleep(0.05)
    assert info["status"] == "completed", info
