"""Refusals of many hosts in one readable line: hosts with the same reasons are named together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAMED: Final = 3
"""Hosts named for one reason, the others are counted."""
SHOWN: Final = 6
"""Different reasons shown; more are counted."""


def together(refused: Mapping[str, tuple[str, ...]]) -> str:
    """'h3: lacks avx512f; h4, h5 and 7 more: 2.1 GiB short of memory'."""
    if not refused:
        return "there is no other host"
    by_reason: dict[str, list[str]] = {}
    for host, why in refused.items():
        by_reason.setdefault(
            ", ".join(why) or "room that was left is taken by other guests of the plan", []
        ).append(host)
    shown = sorted(by_reason.items(), key=lambda item: -len(item[1]))
    parts = [f"{_names(hosts)}: {why}" for why, hosts in shown[:SHOWN]]
    if len(shown) > SHOWN:
        rest = sum(len(hosts) for _, hosts in shown[SHOWN:])
        parts.append(f"and {rest} more hosts for {len(shown) - SHOWN} other reasons")
    return "; ".join(parts)


def _names(hosts: list[str]) -> str:
    if len(hosts) <= NAMED + 1:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:NAMED])} and {len(hosts) - NAMED} more"
