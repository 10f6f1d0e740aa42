"""What QEMU is told before a copy begins, and what both QEMUs have to be told alike."""

from __future__ import annotations

from typing import Any

from segue.adapters.qemu import postcopy
from segue.model.ladder import Shape
from segue.model.migration import Limits

ZSTD_LEVEL = 1
"""The fastest: higher levels find little more in memory pages and cost the guest's processors."""
FREE_SPEED = 1 << 50
"""QEMU's own default cap is 128 MiB/s; this is no cap."""
TRICKLE = 10
"""A bandwidth (bytes/s) at which QEMU sleeps after the first page: it reads the bitmap once, not again."""
LITTLE = 1 << 20
"""A bandwidth (bytes/s) for what nobody waits for yet."""
SYNC_BELOW_BYTES = 1
"""While a new round is wanted QEMU reads the dirty bitmap when nothing is left to send, and never before. Under TCG it
must not: QEMU 10.0 that finds no page dirty but those still waiting to be sent forgets to watch for the next write to
them (system/physmem.c, cpu_physical_memory_sync_dirty_bitmap counts new pages only), and what the guest writes there
after they were sent is lost (our lab: 3 of 36 guests moved while they booted)."""
LEAST_THROTTLE = 0.01
"""QEMU's least; it throttles of its own accord, by as much as this, a guest that writes faster than it sends."""


def capabilities(limits: Limits, shape: Shape, *, gated: bool) -> list[dict[str, Any]]:
    """The source's, for `migrate-set-capabilities`."""
    states = {
        "events": True,
        "return-path": True,
        "switchover-ack": True,
        "pause-before-switchover": gated,
        "dirty-bitmaps": gated,
        "auto-converge": shape.throttle and limits.slowdown_max >= LEAST_THROTTLE,
        "multifd": bool(shape.channels),
        **dict.fromkeys(postcopy.CAPABILITIES, shape.post_copy),
    }
    return [{"capability": name, "state": on} for name, on in states.items()]


def only(*names: str) -> list[dict[str, Any]]:
    """These and the events, and none of the others that a copy of ours may have had."""
    wanted = {"events", *names}
    known = [one["capability"] for one in capabilities(Limits(), Shape(), gated=False)]
    return [{"capability": name, "state": name in wanted} for name in known]


def parameters(limits: Limits, shape: Shape, tls_creds: str) -> dict[str, Any]:
    """The source's, for `migrate-set-parameters`."""
    return {
        "mode": "normal",  # A change in place that did not come about leaves another.
        "max_bandwidth": limits.bandwidth_bytes_per_s or FREE_SPEED,
        "downtime_limit": 0,
        "avail_switchover_bandwidth": SYNC_BELOW_BYTES * 1000,
        "tls_creds": tls_creds,
        # We announce at the moment of our choice; QEMU's own rounds follow.
        "announce_initial": 20,
        "announce_step": 50,
        "announce_rounds": 5,
        **multifd(shape),
        **throttle(LEAST_THROTTLE, trigger_percent=100),
    }


def multifd(shape: Shape) -> dict[str, Any]:
    """How many connections carry the memory, and whether it is compressed; the same on both sides, before either
    listens or sends."""
    if not shape.channels:
        return {}
    return {
        "multifd_channels": shape.channels,
        "multifd_compression": shape.compression or "none",
        "multifd_zstd_level": ZSTD_LEVEL,
    }


def throttle(slowdown: float, *, trigger_percent: int = 1) -> dict[str, Any]:
    """QEMU throttles in steps of its own choice (qapi/migration.json, cpu-throttle-*): a step as large as can be,
    and a limit, make it one step to exactly `slowdown`, taken the second time that the guest has written more than
    `trigger_percent` of what was sent in a second."""
    percent = max(1, round(slowdown * 100))
    return {
        "cpu_throttle_initial": percent,
        "cpu_throttle_increment": 99,
        "max_cpu_throttle": percent,
        "throttle_trigger_threshold": trigger_percent,
    }
