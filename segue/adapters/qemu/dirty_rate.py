"""Asks QEMU how fast the guest writes, before any copy begins: it samples pages twice and compares."""

from __future__ import annotations

import asyncio
import time

from segue.adapters.qemu.monitor import COMMAND_S, Monitor

SPANS_MS = (150, 450)
"""Two spans: where the longer one shows a smaller rate the guest writes the same pages again and again."""
PAGES_PER_GIB = 4096
"""One page in 64, so that 256 MiB are judged by 1,024 pages."""
LOOK_S = 0.02


async def sample(monitor: Monitor) -> tuple[tuple[float, float], ...]:
    """(seconds, bytes per second of different pages written), for each span."""
    return tuple([(ms / 1e3, await _rate(monitor, ms)) for ms in SPANS_MS])


async def _rate(monitor: Monitor, span_ms: int) -> float:
    await monitor.execute(
        "calc-dirty-rate", calc_time=span_ms, calc_time_unit="millisecond", sample_pages=PAGES_PER_GIB
    )
    deadline_s = time.monotonic() + span_ms / 1e3 + COMMAND_S
    while time.monotonic() < deadline_s:
        answer = await monitor.execute("query-dirty-rate")
        if answer["status"] == "measured":
            return float(answer["dirty-rate"]) * (1 << 20)
        # There is no event for the end of the measurement.
        await asyncio.sleep(LOOK_S)
    raise TimeoutError("QEMU did not finish measuring the dirty rate")
