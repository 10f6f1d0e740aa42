"""From one move and what its client saw to the figures of a sample; and from samples to medians and ranges."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any, Final

from bench.moves import Move

Sample = dict[str, Any]
Samples = list[Sample]
GAPS_KEPT: Final = 5
MEASURED: Final = (
    "blackout_s",
    "outage_s",
    "cold_start_s",
    "worst_tcp_s",
    "lost",
    "duplicated",
    "service_s",
    "total_s",
    "wire_bytes",
    "cpu_s",
)
"""What is summed up for each peer in each cell."""


def of_move(move: Move, seen: dict[str, dict[str, Any]]) -> Sample:
    """The figures of a sample; None where a guest that did not move has none."""
    udp, tcp = seen["udp"], seen["tcp"]
    figures: Sample = {
        "moved": move.moved,
        "blackout_s": None,
        "service_s": None,
        "cold_start_s": None,
        "outage_s": outage_s(udp["gaps"], move.begun_s),
        "lost": udp["lost"],
        "duplicated": udp["duplicated"],
        "reordered": udp["reordered"],
        "worst_tcp_s": tcp["longest_request_s"],
        "broken_connections": tcp["broken_connections"],
        "total_s": move.ended_s - move.begun_s,
    }
    if move.moved:
        figures["blackout_s"] = move.resumed_at_s - move.stopped_at_s
        figures["service_s"] = move.resumed_at_s - move.begun_s
        figures["cold_start_s"] = cold_start_s(udp["gaps"], move.resumed_at_s)
    return figures


def outage_s(gaps: Iterable[dict[str, float]], begun_s: float) -> float:
    """The longest time without a reply that ended after the move had begun."""
    lengths = (gap["ended_s"] - gap["started_s"] for gap in gaps if gap["ended_s"] >= begun_s)
    return float(max(lengths, default=0.0))


def cold_start_s(gaps: Iterable[dict[str, float]], resumed_at_s: float) -> float | None:
    """From RESUME to the first reply; None where the client noticed no gap around the resume."""
    around = [gap for gap in gaps if gap["started_s"] <= resumed_at_s <= gap["ended_s"]]
    return float(around[0]["ended_s"] - resumed_at_s) if around else None


def short(seen: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The client's accounts without the many small gaps, which nobody looks at again."""
    return {name: account | {"gaps": account["gaps"][:GAPS_KEPT]} for name, account in seen.items()}


def values(samples: Samples, name: str) -> list[float]:
    """One figure of those samples that have it."""
    return [float(sample[name]) for sample in samples if sample.get(name) is not None]


def mid(samples: Samples, name: str) -> float | None:
    """The median; None where nothing was measured."""
    found = values(samples, name)
    return float(median(found)) if found else None


def spread(samples: Samples, name: str) -> dict[str, float] | None:
    """Median and range."""
    found = values(samples, name)
    if not found:
        return None
    return {"median": float(median(found)), "lowest": min(found), "highest": max(found)}


def of(samples: Samples, cell: str | None = None, peer: str | None = None) -> Samples:
    """The samples of a cell, of a peer, or of both."""
    return [
        sample
        for sample in samples
        if (cell is None or sample["cell"] == cell) and (peer is None or sample["peer"] == peer)
    ]


def names(samples: Samples, key: str) -> list[str]:
    """The different values of `cell` or `peer`, in the order in which they came."""
    return list(dict.fromkeys(sample[key] for sample in samples))


def best(samples: Samples, peers: Iterable[str], name: str) -> tuple[str, float] | None:
    """The peer with the lowest median among those that moved their guest every time; None without one."""
    found = []
    for peer in peers:
        own = of(samples, peer=peer)
        middle = mid(own, name)
        if own and middle is not None and all(sample["moved"] for sample in own):
            found.append((middle, peer))
    return (min(found)[1], min(found)[0]) if found else None
