"""Pictures of the report, as SVG by hand: one box per peer and cell, one point per move, and where time goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import quantiles
from typing import Any, Final

from bench import figures
from bench.figures import Samples

WIDTH: Final = 900
LEFT: Final = 210
RIGHT: Final = 30
ROW: Final = 22
HEAD: Final = 34
FOOT: Final = 34
COLOURS: Final = {"segue": "#0a7d4f", "libvirt": "#c2410c", "plain": "#2563a8", "floor": "#6b7280"}
FIGURES: Final = {
    "blackout_s": ("blackout", "Blackout: STOP on the source to RESUME on the target, ms"),
    "outage_s": ("outage", "Outage: longest time without a reply to the client, ms"),
    "total_s": ("total", "Total time of the move, ms"),
}


def draw(data: dict[str, Any], folder: Path) -> str:
    """Writes a file for each figure, one for the timeline and a page with all; the page's name."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for name, (short, title) in FIGURES.items():
        files.append(folder / f"{short}.svg")
        files[-1].write_text(boxes(data["samples"], name, title))
    files.append(folder / "timeline.svg")
    files[-1].write_text(timeline([row for row in data["timeline"] if row["in_blackout"]]))
    page = folder / "index.html"
    pictures = "\n".join(f'<p><img src="{file.name}" alt="{file.stem}"></p>' for file in files)
    page.write_text(
        f"<!doctype html><meta charset=utf-8><title>segue: engine benchmark</title>\n{pictures}\n"
    )
    return str(page)


def boxes(samples: Samples, name: str, title: str) -> str:
    """A panel for each cell, a box for each peer, on one logarithmic scale of milliseconds."""
    found = [value * 1e3 for value in figures.values(samples, name) if value > 0]
    scale = Scale(min(found, default=1.0), max(found, default=10.0))
    parts, top = [_text(10, 22, title, size=15, bold=True)], HEAD
    for cell in figures.names(samples, "cell"):
        rows = figures.of(samples, cell)
        peers = [
            peer for peer in figures.names(rows, "peer") if figures.values(figures.of(rows, peer=peer), name)
        ]
        parts.append(_text(10, top + 16, cell, bold=True))
        bottom = top + ROW + ROW * len(peers)
        parts += scale.grid(top + ROW, bottom)
        for index, peer in enumerate(peers):
            middle = top + ROW + ROW * index + ROW / 2
            values = [value * 1e3 for value in figures.values(figures.of(rows, peer=peer), name) if value > 0]
            parts += _box(scale, values, middle, peer)
        top = bottom + FOOT
    return _svg(top, parts)


class Scale:
    """Milliseconds to places on the page."""

    def __init__(self, lowest: float, highest: float) -> None:
        self._low = math.floor(math.log10(lowest))
        self._high = max(math.ceil(math.log10(highest)), self._low + 1)

    def x(self, value: float) -> float:
        """Where a value lies."""
        share = (math.log10(value) - self._low) / (self._high - self._low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def grid(self, top: float, bottom: float) -> list[str]:
        """Lines at 1, 2 and 5, with their figures below."""
        parts = []
        for power in range(self._low, self._high + 1):
            for step in (1, 2, 5):
                value = step * 10.0**power
                if power == self._high and step > 1:
                    break
                shade = "#bbb" if step == 1 else "#e5e5e5"
                parts.append(_line(self.x(value), top, self.x(value), bottom, shade))
                parts.append(_text(self.x(value), bottom + 14, f"{value:g}", size=10, anchor="middle"))
        return parts


def _box(scale: Scale, values: Sequence[float], middle: float, peer: str) -> list[str]:
    """Range as a line, middle half as a box, median as a bar, each move as a point."""
    colour = _colour(peer)
    parts = [_text(LEFT - 8, middle + 4, peer, anchor="end")]
    if not values:
        return parts
    low, high = scale.x(min(values)), scale.x(max(values))
    parts.append(_line(low, middle, high, middle, colour))
    first, half, third = quantiles([*values, *values], n=4, method="inclusive")
    left, right = scale.x(first), scale.x(third)
    parts.append(
        f'<rect x="{left:.1f}" y="{middle - 7:.1f}" width="{max(right - left, 1):.1f}" height="14" '
        f'fill="{colour}" fill-opacity="0.25" stroke="{colour}"/>'
    )
    parts.append(_line(scale.x(half), middle - 8, scale.x(half), middle + 8, colour, width=3))
    parts += [
        f'<circle cx="{scale.x(value):.1f}" cy="{middle:.1f}" r="2" fill="{colour}"/>' for value in values
    ]
    return parts


def timeline(rows: Sequence[dict[str, Any]]) -> str:
    """Where segue's blackout goes: one bar for each cell, one piece for each mark of the record."""
    tones = (
        "#0a7d4f",
        "#5fb58f",
        "#2563a8",
        "#7fa8d6",
        "#c2410c",
        "#e59a73",
        "#6b7280",
        "#b6bcc6",
        "#a16207",
    )
    names = list(dict.fromkeys(row["until"] for row in rows))
    tone = {name: tones[index % len(tones)] for index, name in enumerate(names)}
    longest = max((sum(row["median_s"] for row in _of(rows, cell)) for cell in _cells(rows)), default=1.0)
    parts = [
        _text(
            10,
            22,
            "segue's blackout by the marks of its record, medians, ms (each piece ends at its mark)",
            size=15,
            bold=True,
        )
    ]
    parts += [piece for index, name in enumerate(names) for piece in _legend(index, name, tone[name])]
    top = HEAD + ROW * (1 + (len(names) - 1) // 5)
    for cell in _cells(rows):
        parts.append(_text(LEFT - 8, top + 15, cell, anchor="end"))
        x = float(LEFT)
        for row in _of(rows, cell):
            width = max(row["median_s"], 0.0) / longest * (WIDTH - LEFT - RIGHT - 60)
            parts.append(
                f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="16" fill="{tone[row["until"]]}"/>'
            )
            x += width
        total_ms = sum(row["median_s"] for row in _of(rows, cell)) * 1e3
        parts.append(_text(x + 6, top + 13, f"{total_ms:.1f}"))
        top += ROW
    return _svg(top + FOOT, parts)


def _legend(index: int, name: str, colour: str) -> list[str]:
    x, y = 10 + index % 5 * 175, HEAD + index // 5 * ROW
    return [f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>', _text(x + 17, y + 11, name)]


def _cells(rows: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(row["cell"] for row in rows))


def _of(rows: Sequence[dict[str, Any]], cell: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["cell"] == cell]


def _colour(peer: str) -> str:
    return COLOURS.get(peer.partition(" ")[0], "#333")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: int = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(
    x: float, y: float, words: str, *, size: int = 12, anchor: str = "start", bold: bool = False
) -> str:
    weight = "bold" if bold else "normal"
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="#222">{escape(words)}</text>'
    )


def _svg(height: float, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0f}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )
