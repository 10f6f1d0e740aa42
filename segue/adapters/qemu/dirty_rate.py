"""Asks QEMU how fast the guest writes, before any copy begins: it samples pages twice and compares."""

from __future__ import annotations

import asyncio
import time

from segue.adapters.qemu.monitor import COMMAND_S, Monitor

SHORT_S = 0.15
LONG_S = 0.45
"""Where it shows a smaller rate than a short one the guest writes the same pages again and again."""
PAGES_PER_GIB = 4096
"""One page in 64, so that 256 MiB are judged by 1,024 pages."""
LOOK_S = 0.02


async def sample(monitor: Monitor, span_s: float) -> float:
    """Bytes per second of different pages written in a span of that length. Raises QemuGone, TimeoutError."""
    await monitor.execute(
        "calc-dirty-rate",
        calc_time=round(span_s * 1e3),
        calc_time_unit="millisecond",
        sample_pages=PAGES_PER_GIB,
    )
    deadline_s = time.monotonic() + span_s + COMMAND_S
    while time.monotonic() < deadline_s:
        answer = await monitor.execute("query-dirty-rate")
        if answer["status"] == "measured":
            return float(answer["dirty-rate"]) * (1 << 20)
        # There is no event for the end of the measurement.
        await asyncio.sleep(LOOK_S)
    raise TimeoutError("QEMU did not finish measuring the dirty rate")
