"""Samples as the benchmark writes them, made up for its tests."""

from __future__ import annotations

from typing import Any

from bench import figures
from bench.figures import Sample, Samples
from bench.moves import Move, stayed


def udp(gaps: list[tuple[float, float]], lost: int = 0) -> dict[str, Any]:
    """A UDP client's account; gaps are (started, ended)."""
    told = [{"started_s": started, "ended_s": ended} for started, ended in gaps]
    return {"gaps": told, "lost": lost, "duplicated": 0, "reordered": 0}


def seen(gaps: list[tuple[float, float]], lost: int = 0) -> dict[str, dict[str, Any]]:
    """The accounts of both clients."""
    tcp = {"gaps": [], "longest_request_s": 0.1, "broken_connections": 0}
    return {"udp": udp(gaps, lost), "tcp": tcp}


def sample(
    cell: str,
    peer: str,
    blackout_ms: float | None,
    *,
    run: int = 0,
    dirty: int = 0,
    lost: int = 0,
    total_s: float = 1.0,
) -> Sample:
    """One move that began at 100 s, and whose guest stood still from 100.5 s on; None: it did not move."""
    if blackout_ms is None:
        move = stayed(100.0, 100.0 + total_s, "not converged")
        gaps = [(100.0, 100.001)]
    else:
        resumed_s = 100.5 + blackout_ms / 1e3
        timeline = [["steered", -0.001], ["stopped", 0.0], ["resumed", blackout_ms / 1e3], ["owner", 9.0]]
        move = Move(100.0, 100.5, resumed_s, 100.0 + total_s, {"timeline": timeline})
        gaps = [(100.5, resumed_s + 0.06), (99.0, 99.9)]
    return {
        "cell": cell,
        "peer": peer,
        "run": run,
        "dirty_percent": dirty,
        **figures.of_move(move, seen(gaps, lost)),
        "wire_bytes": 1000,
        "cpu_s": 1.0,
        "move": {"details": move.details},
    }


def series(cell: str, peer: str, blackouts_ms: list[float | None], **more: Any) -> Samples:
    """One sample for each blackout."""
    return [sample(cell, peer, each, run=run, **more) for run, each in enumerate(blackouts_ms)]
