"""Refusals of many hosts in one readable line: hosts with the same reasons are named together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

NAMED: Final = 3
"""Hosts named for one reason, the others are counted."""
SHOWN: Final = 6
"""Different reasons shown; more are counted."""

KEPT_MOST: Final = 500
"""Guests whose reason a task keeps, and"""
KEPT_CHARS: Final = 60_000
"""the letters of all of them together: a task is one entry of the store, and has to fit."""
KEPT_LEAST: Final = 40


def kept(staying: Mapping[str, str]) -> dict[str, str]:
    """What a task keeps of it: of many reasons the beginning, of very many guests the first. It notes how many stay."""
    names = sorted(staying)[:KEPT_MOST]
    chars = room(len(names))
    return {name: staying[name][:chars] for name in names}


def room(count: int) -> int:
    """Letters for each of so many reasons."""
    return max(KEPT_LEAST, KEPT_CHARS // max(1, count))


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
