"""The report of the engine's benchmark: everything in it but the surroundings is computed from its samples."""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench import figures, verdicts
from bench.figures import Sample, Samples

WITHOUT_TLS: Final = "segue without TLS"
LAST_MARK: Final = "resumed"
COLUMNS: Final[dict[str, tuple[str, float]]] = {
    "blackout_s": ("blackout ms", 1e3),
    "outage_s": ("outage ms", 1e3),
    "cold_start_s": ("cold start ms", 1e3),
    "worst_tcp_s": ("worst TCP ms", 1e3),
    "lost": ("lost", 1),
    "total_s": ("total s", 1),
    "wire_bytes": ("on the wire MB", 1e-6),
    "cpu_s": ("CPU s", 1),
}
EXPLAINED: Final = {
    "blackout": "QEMU's STOP event on the source to its RESUME event on the target, one clock",
    "outage": "the longest time the UDP client had no reply, from the start of the move to a second after it",
    "cold start": "RESUME to the first reply: under TCG the target's translation cache is cold, whoever moves",
    "floor": "device state alone: a stopped guest, all of it copied, from the word to go on to RESUME on the target",
    "total": "the command given to the command done; `service_s`: to RESUME on the target",
    "wire": "bytes that both hosts sent to the fabric, the probes' packets with them",
    "cpu": "processor time of both hosts without the QEMUs of the guests that were not moved",
    "moved": "guests moved within 20 s; a median is of those, and a best peer is one that moved its guest every time",
}


def make(samples: Samples, surroundings: dict[str, Any]) -> dict[str, Any]:
    """The whole report."""
    return {
        "what": "live migration of one guest, moved by each peer in turns; a client sends 1,000 packets/s",
        "explained": EXPLAINED,
        **surroundings,
        "summary": [
            {"cell": cell, "peer": peer, **_summary(figures.of(samples, cell, peer))}
            for cell in figures.names(samples, "cell")
            for peer in figures.names(figures.of(samples, cell), "peer")
        ],
        "timeline": [row for cell in figures.names(samples, "cell") for row in timeline(samples, cell)],
        "tls": [row for cell in figures.names(samples, "cell") for row in _tls(figures.of(samples, cell))],
        "forecast": _forecast(figures.of(samples, peer=verdicts.OURS)),
        "verdicts": verdicts.of_samples(samples),
        "samples": samples,
    }


def _summary(samples: Samples) -> dict[str, Any]:
    moved = sum(sample["moved"] for sample in samples)
    return {
        "runs": len(samples),
        "moved": moved,
        **{name: figures.spread(samples, name) for name in figures.MEASURED},
    }


def timeline(samples: Samples, cell: str) -> list[dict[str, Any]]:
    """Where segue's blackout goes: medians of the times between one mark of its record and the next.

    What comes before `stopped` is before the blackout: the guest still runs.
    """
    lengths: dict[str, list[float]] = {}
    inside: set[str] = set()
    for sample in figures.of(samples, cell, verdicts.OURS):
        marks = sorted(sample["move"]["details"].get("timeline", ()), key=lambda mark: mark[1])
        for (_, before_s), (what, at_s) in pairwise(marks):
            lengths.setdefault(what, []).append(at_s - before_s)
            if at_s > 0:
                inside.add(what)
            if what == LAST_MARK:
                break
    return [
        {
            "cell": cell,
            "until": what,
            "in_blackout": what in inside,
            "median_s": median(found),
            "longest_s": max(found),
        }
        for what, found in lengths.items()
    ]


def _tls(samples: Samples) -> list[dict[str, Any]]:
    """What TLS costs: segue's medians divided by those of segue without it."""
    plain = figures.of(samples, peer=WITHOUT_TLS)
    if not plain:
        return []
    row: dict[str, Any] = {"cell": plain[0]["cell"]}
    for name in ("blackout_s", "total_s", "cpu_s", "wire_bytes"):
        ours, theirs = figures.mid(figures.of(samples, peer=verdicts.OURS), name), figures.mid(plain, name)
        row[name] = ours / theirs if ours is not None and theirs else None
    return [row]


def _forecast(ours: Samples) -> dict[str, Any]:
    """Errors as shares of what happened."""
    told = {}
    for name in ("total", "blackout"):
        errors = verdicts.forecast_errors(ours, name)
        if errors:
            told[name] = {"moves": len(errors), "median_error": median(errors), "largest_error": max(errors)}
    return told


def line(sample: Sample) -> str:
    """One move, while the benchmark runs."""
    words = f"{sample['run'] + 1:3} {sample['cell']:20} {sample['peer']:23} "
    if not sample["moved"]:
        return f"{words} not moved in {sample['total_s']:.0f} s"
    return words + (
        f"blackout {sample['blackout_s'] * 1e3:6.1f} ms  outage {sample['outage_s'] * 1e3:6.1f} ms  "
        f"lost {sample['lost']:3}  total {sample['total_s']:5.2f} s"
    )


def show(data: dict[str, Any], console: Console) -> None:
    """Medians and ranges, the timeline, then the verdicts."""
    for cell in figures.names(data["summary"], "cell"):
        table = Table(
            "peer", "moved", *(title for title, _ in COLUMNS.values()), title=f"{cell}: median (range)"
        )
        for row in figures.of(data["summary"], cell):
            cells = [_cell(row[name], factor) for name, (_, factor) in COLUMNS.items()]
            table.add_row(row["peer"], f"{row['moved']} of {row['runs']}", *cells)
        console.print(table)
    _show_timeline(data, console)
    _show_shares(data, console)
    table = Table("", "target", "measured", "")
    for verdict in data["verdicts"]:
        sign = "[green]holds[/]" if verdict["holds"] else "[red]MISSED[/]"
        table.add_row(
            verdict["name"], f"{verdict['target']:g}", f"{verdict['value']:g} {verdict['unit']}", sign
        )
    console.print(table)


def _show_timeline(data: dict[str, Any], console: Console) -> None:
    if not data["timeline"]:
        return
    table = Table("segue's blackout", "until", "median ms", "longest ms")
    for row in data["timeline"]:
        table.add_row(
            row["cell"], row["until"], f"{row['median_s'] * 1e3:.2f}", f"{row['longest_s'] * 1e3:.2f}"
        )
    console.print(table)


def _show_shares(data: dict[str, Any], console: Console) -> None:
    for row in data["tls"]:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in row.items() if isinstance(share, float))
        console.print(f"TLS in {row['cell']}, times what it is without: {shares}")
    for name, row in data["forecast"].items():
        median_error, largest = row["median_error"] * 100, row["largest_error"] * 100
        console.print(
            f"forecast of {name}: wrong by {median_error:.0f} % (median), {largest:.0f} % (largest), "
            f"over {row['moves']} moves"
        )


def _cell(figure: dict[str, float] | None, factor: float) -> str:
    if figure is None:
        return "-"
    low, high = _short(figure["lowest"] * factor), _short(figure["highest"] * factor)
    return f"{_short(figure['median'] * factor)} ({low} to {high})"


def _short(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or value >= 1000 else f"{value:.1f}"
