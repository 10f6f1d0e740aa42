"""How many connections carry the memory, and whether it is compressed: what both QEMUs have to be told alike."""

from __future__ import annotations

from typing import Any

from segue.model.ladder import Shape

ZSTD_LEVEL = 1
"""The fastest: higher levels find little more in memory pages and cost the guest's processors."""


def multifd_parameters(shape: Shape) -> dict[str, Any]:
    """Parameters for `migrate-set-parameters`; QEMU wants the same on both sides, before it listens or sends."""
    if not shape.channels:
        return {}
    return {
        "multifd_channels": shape.channels,
        "multifd_compression": shape.compression or "none",
        "multifd_zstd_level": ZSTD_LEVEL,
    }
