"""The demo's report: samples, machine, versions, and verdicts computed from the samples."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from segue import __version__

PLACE = Path("out/demo.json")


def make(moves: list[dict[str, Any]], elapsed_s: float) -> dict[str, Any]:
    """All that is known of the run."""
    return {
        "what": "a guest moved there and back under client traffic",
        "elapsed_s": round(elapsed_s, 1),
        "machine": {
            "cpus": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "versions": {"segue": __version__},
        "samples": moves,
        "verdicts": verdicts(moves),
    }


def verdicts(moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be true for the demo to have worked."""
    seen = [observation for move in moves for observation in move["observations"]]
    budget_ms = min((move["limits"]["blackout_s"] * 1e3 for move in moves), default=0.0)
    blackout_ms = max((move["outcome"]["blackout_s"] * 1e3 for move in moves), default=0.0)
    return [
        _verdict("moves done", 2, sum(move["stage"] == "done" for move in moves), "moves", exactly=True),
        _verdict("probes that watched", 6, sum(s["received"] > 0 for s in seen), "probes", exactly=True),
        _verdict("packets lost", 0, sum(s["lost"] for s in seen), "packets"),
        _verdict("packets duplicated", 0, sum(s["duplicated"] for s in seen), "packets"),
        _verdict("requests failed", 0, sum(s["failed"] for s in seen), "requests"),
        _verdict("connections broken", 0, sum(s["broken_connections"] for s in seen), "connections"),
        _verdict("longest blackout", budget_ms, round(blackout_ms, 2), "ms"),
    ]


def _verdict(name: str, target: float, value: float, unit: str, *, exactly: bool = False) -> dict[str, Any]:
    holds = value == target if exactly else value <= target
    return {"name": name, "target": target, "value": value, "unit": unit, "holds": holds}


def write(data: dict[str, Any]) -> None:
    """Writes the report where it is looked for."""
    PLACE.parent.mkdir(exist_ok=True)
    PLACE.write_text(as_json(data))


def as_json(data: dict[str, Any]) -> str:
    """The report as text."""
    return json.dumps(data, indent=2) + "\n"


def print_verdicts(data: dict[str, Any], console: Console) -> None:
    """For people."""
    table = Table("", "target", "measured", "")
    for verdict in data["verdicts"]:
        sign = "[green]holds[/]" if verdict["holds"] else "[red]MISSED[/]"
        table.add_row(
            verdict["name"], f"{verdict['target']:g}", f"{verdict['value']:g} {verdict['unit']}", sign
        )
    console.print(table)
    console.print(f"{data['elapsed_s']:.0f} s in all; every figure is in {PLACE}.")
