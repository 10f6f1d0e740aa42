"""`make bench-sim`: one controller, 10,000 hosts and 100,000 guests, on virtual time: out/bench/sim.json.

The programs of controller and link are the real ones; hosts are lists of guests. Exit status 0 if it ran.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from segue import __version__
from segue.sim import scale
from segue.sim.scale import Phase

PLACE: Final = Path("out/bench/sim.json")
BYTES_MOST: Final = 4 << 30


def main() -> int:
    """Plays it, writes the report and shows it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--guests", type=int, default=100_000)
    options = parser.parse_args()
    console = Console(stderr=True, highlight=False)
    phases = scale.play(
        options.hosts, options.guests, lambda phase: console.print(f"{phase.name}: {phase.machine_s:.0f} s")
    )
    report = _report(options.hosts, options.guests, phases)
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(json.dumps(report, indent=2) + "\n")
    _show(report)
    return 0


def _report(hosts: int, guests: int, phases: list[Phase]) -> dict[str, Any]:
    facts = {phase.name: phase.facts for phase in phases}
    drain, beats = facts["drain of a rack"], facts["heartbeats"]
    peak = max(phase.peak_bytes for phase in phases)
    return {
        "versions": {"segue": __version__, "python": platform.python_version()},
        "machine": {"processors": os.cpu_count(), "kernel": platform.release()},
        "hosts": hosts,
        "guests": guests,
        "samples": [asdict(phase) for phase in phases],
        "verdicts": [
            _verdict("hosts that were away while all was well", 0, beats["away"], "hosts"),
            _verdict("guests left on the rack", 0, drain["left"], "guests"),
            _verdict("memory of controller, store and all hosts", BYTES_MOST, peak, "bytes"),
        ],
    }


def _verdict(name: str, target: float, value: float, unit: str) -> dict[str, Any]:
    return {"name": name, "target": target, "value": value, "unit": unit, "holds": value <= target}


def _show(report: dict[str, Any]) -> None:
    table = Table(title=f"{report['hosts']} hosts, {report['guests']} guests")
    for column in ("part", "fleet s", "processor s", "peak MiB", "what"):
        table.add_column(column)
    for one in report["samples"]:
        what = ", ".join(f"{name} {value:g}" for name, value in one["facts"].items())
        row = (f"{one['fleet_s']:.0f}", f"{one['machine_s']:.1f}", f"{one['peak_bytes'] / 2**20:.0f}")
        table.add_row(one["name"], *row, what)
    for one in report["verdicts"]:
        table.add_row(
            one["name"],
            "",
            "",
            "",
            f"{one['value']:g} {one['unit']}: {'holds' if one['holds'] else 'missed'}",
        )
    Console(highlight=False).print(table)


if __name__ == "__main__":
    sys.exit(main())
