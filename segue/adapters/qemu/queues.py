"""Asks a QEMU how large the queues of its virtio devices are: a QEMU may refuse a guest whose queues are larger.

QEMU before 11.1, with the fixes of 2026, makes every queue 1,024 entries large; 11.1 makes them as large as the device
asks for (8 for virtio-rng) and does not load a guest that has a larger one, whatever the machine type says (measured:
10.0.13 and 11.1.3 of Debian). Both load smaller ones, so a guest that began on 11.1 goes both ways.
"""

from __future__ import annotations

from segue.adapters.qemu.monitor import Monitor, QemuRefused


async def entries(monitor: Monitor) -> dict[str, int]:
    """Virtio device -> entries of its first queue as they are now; empty where QEMU cannot be asked."""
    found: dict[str, int] = {}
    try:
        for device in await monitor.execute("x-query-virtio"):
            status = await monitor.execute("x-query-virtio-queue-status", path=device["path"], queue=0)
            found[device["name"]] = max(found.get(device["name"], 0), int(status["vring-num"]))
    except QemuRefused:
        return {}  # The commands are not promised to stay. QEMU then says itself what it does not load.
    return found
