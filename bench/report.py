"""The report of the engine's benchmark: samples, machine, versions, and verdicts computed from the samples."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.ours import Ours
from bench.plain import PlainGuest
from segue import __version__
from segue.lab import processes
from segue.lab.api import Lab

PLACE: Final = Path("out/bench/engine.json")
OURS: Final = Ours.name
BLACKOUT_RATIO: Final = 1.2
"""segue may stand still this much longer than plain QEMU at its best, for what it does beyond it."""
COLUMNS: Final[dict[str, tuple[str, float]]] = {
    "blackout_s": ("blackout ms", 1e3),
    "outage_s": ("outage ms", 1e3),
    "lost": ("packets lost", 1),
    "duplicated": ("twice", 1),
    "worst_tcp_s": ("worst TCP request ms", 1e3),
    "total_s": ("total s", 1),
}

Samples = list[dict[str, Any]]


def make(samples: Samples, peers: list[str], surroundings: dict[str, Any]) -> dict[str, Any]:
    """All that is known of the run."""
    loads = list(dict.fromkeys(sample["dirty"] for sample in samples))
    return {
        "what": "live migration of one guest, moved by each peer in turns; a client sends 1,000 packets/s",
        "blackout": "QEMU's STOP event on the source to its RESUME event on the target, one clock",
        "outage": "the longest time the client had no reply, from the start of the move to a second after it",
        **surroundings,
        "summary": [
            {"peer": peer, "dirty": load, **_summary(_of(samples, peer, load))}
            for load in loads
            for peer in peers
        ],
        "verdicts": [verdict for load in loads for verdict in _verdicts(samples, peers, load)],
        "samples": samples,
    }


def surroundings(lab: Lab, ours: Ours, plain: PlainGuest) -> dict[str, Any]:
    """The machine and the versions, and what shows that the peers were treated alike."""
    facts = ours.agent(ours.host).call("GET", "/host")
    return {
        "machine": {
            "cpus": os.cpu_count(),
            "processor": _processor(),
            "kernel": platform.release(),
            "accelerator": facts["accelerator"],
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
        "versions": {
            "segue": __version__,
            "qemu": facts["qemu_version"],
            "python": platform.python_version(),
        },
        "guest": plain.guest_as_data(),
        "nice": {
            "segue": _nice(lab, ours.host, "bench-segue"),
            "plain": _nice(lab, plain.host, "bench-plain"),
        },
    }


def _nice(lab: Lab, host: str, guest: str) -> int | None:
    """The nice level of the guest's QEMU."""
    for pid in processes.inside(lab.host_pids(host)[0]):
        if f"guest={guest},".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return os.getpriority(os.PRIO_PROCESS, pid)
    return None


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()
    )


def _of(samples: Samples, peer: str, load: str) -> Samples:
    return [sample for sample in samples if sample["peer"] == peer and sample["dirty"] == load]


def _summary(samples: Samples) -> dict[str, Any]:
    figures: dict[str, Any] = {"moves": len(samples)}
    for name in COLUMNS:
        values = [sample[name] for sample in samples]
        figures[name] = {"median": median(values), "lowest": min(values), "highest": max(values)}
    return figures


def _verdicts(samples: Samples, peers: list[str], load: str) -> list[dict[str, Any]]:
    """Plain QEMU's best is its best variant by the median of the very figure that is compared."""
    plain = [peer for peer in peers if peer.startswith("plain ")]

    def mid(peer: str, name: str) -> float:
        return float(median(sample[name] for sample in _of(samples, peer, load)))

    ours = _of(samples, OURS, load)
    blackout = min(plain, key=lambda peer: mid(peer, "blackout_s"))
    outage = min(plain, key=lambda peer: mid(peer, "outage_s"))
    ratio = round(mid(OURS, "blackout_s") / mid(blackout, "blackout_s"), 3)
    shorter_ms = round((mid(OURS, "outage_s") - mid(outage, "outage_s")) * 1e3, 2)
    lost, twice = sum(sample["lost"] for sample in ours), sum(sample["duplicated"] for sample in ours)
    return [
        _verdict(
            f"blackout against {blackout}, dirty {load}", BLACKOUT_RATIO, ratio, "times", lambda a, b: a <= b
        ),
        _verdict(f"outage less that of {outage}, dirty {load}", 0.0, shorter_ms, "ms", lambda a, b: a < b),
        _verdict(f"packets lost, dirty {load}", 0, lost, "packets", lambda a, b: a <= b),
        _verdict(f"packets duplicated, dirty {load}", 0, twice, "packets", lambda a, b: a <= b),
    ]


def _verdict(
    name: str, target: float, value: float, unit: str, holds: Callable[[float, float], bool]
) -> dict[str, Any]:
    return {"name": name, "target": target, "value": value, "unit": unit, "holds": holds(value, target)}


def write(data: dict[str, Any]) -> None:
    """Writes the report where it is looked for."""
    PLACE.parent.mkdir(parents=True, exist_ok=True)
    PLACE.write_text(json.dumps(data, indent=2) + "\n")


def line(sample: dict[str, Any]) -> str:
    """One move, while the benchmark runs."""
    return (
        f"  {sample['run'] + 1:3} {sample['dirty']:>7} {sample['peer']:17} "
        f"blackout {sample['blackout_s'] * 1e3:6.1f} ms  outage {sample['outage_s'] * 1e3:6.1f} ms  "
        f"lost {sample['lost']:3}  TCP {sample['worst_tcp_s'] * 1e3:6.1f} ms  total {sample['total_s']:5.2f} s"
    )


def show(data: dict[str, Any], console: Console) -> None:
    """Medians and ranges, then the verdicts."""
    table = Table(
        "load", "peer", "moves", *(title for title, _ in COLUMNS.values()), title="median (lowest to highest)"
    )
    for row in data["summary"]:
        cells = [_cell(row[name], factor) for name, (_, factor) in COLUMNS.items()]
        table.add_row(f"dirty {row['dirty']}", row["peer"], str(row["moves"]), *cells)
    console.print(table)
    verdicts = Table("", "target", "measured", "")
    for verdict in data["verdicts"]:
        sign = "[green]holds[/]" if verdict["holds"] else "[red]MISSED[/]"
        verdicts.add_row(
            verdict["name"], f"{verdict['target']:g}", f"{verdict['value']:g} {verdict['unit']}", sign
        )
    console.print(verdicts)
    console.print(f"{data['elapsed_s']:.0f} s in all; every sample is in {PLACE}.")


def _cell(figure: dict[str, float], factor: float) -> str:
    def show_one(value: float) -> str:
        return f"{value:.0f}" if value == int(value) else f"{value:.1f}"

    low, high = show_one(figure["lowest"] * factor), show_one(figure["highest"] * factor)
    return f"{show_one(figure['median'] * factor)} ({low} to {high})"
