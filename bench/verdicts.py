"""What was promised, and whether the samples of the report show it: pure, and computed again with every report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

from bench import figures, floor
from bench.figures import Samples
from bench.ours import FIRM, POST_COPY

OURS: Final = "segue"
LIBVIRT: Final = "libvirt "
PLAIN: Final = "plain "
THEIR_POST_COPY: Final = " post-copy"
FLOOR_RATIO: Final = 1.2
LIBVIRT_RATIO: Final = 0.4
TOTAL_RATIO: Final = 1.1
BLACKOUT_BUDGET_S: Final = 0.3
"""The budget that every move of segue is given here: what `segue migrate` takes where nothing is said."""
FORECAST_TOTAL: Final = 0.2
FORECAST_BLACKOUT: Final = 0.3
OVERLOADED_PERCENT: Final = 100

Verdict = dict[str, Any]


def of_samples(samples: Samples) -> list[Verdict]:
    """All verdicts that these samples allow."""
    found: list[Verdict] = []
    for cell in figures.names(samples, "cell"):
        found += _of_cell(cell, figures.of(samples, cell))
    return [*found, *_of_forecasts(figures.of(samples, peer=OURS))]


def _of_cell(cell: str, samples: Samples) -> Iterator[Verdict]:
    peers = figures.names(samples, "peer")
    libvirt = [peer for peer in peers if peer.startswith(LIBVIRT)]
    for mine in (FIRM, POST_COPY):
        if those := figures.of(samples, peer=mine):
            yield from _moved(f"{cell}, {mine}", those)
    theirs = [peer for peer in libvirt if peer.endswith(THEIR_POST_COPY)]
    for name in ("blackout_s", "outage_s"):
        yield from _below(f"{cell}, {POST_COPY}", samples, theirs, name, POST_COPY)
    ours = figures.of(samples, peer=OURS)
    if not ours:
        return
    idle = ours[0]["dirty_percent"] == 0
    plain = [peer for peer in peers if peer.startswith(PLAIN)]
    if idle and floor.NAME in peers:
        yield from _ratio(cell, samples, [floor.NAME], "blackout_s", FLOOR_RATIO)
    if libvirt:
        yield from _below(cell, samples, libvirt, "blackout_s")
        yield from _below(cell, samples, libvirt, "outage_s")
        if idle:
            yield from _ratio(cell, samples, libvirt, "blackout_s", LIBVIRT_RATIO)
    if plain:
        yield from _ratio(cell, samples, plain, "service_s", TOTAL_RATIO)
        yield from _ratio(cell, samples, plain, "total_s", TOTAL_RATIO)
    yield _sum(f"{cell}: packets lost", ours, "lost")
    yield _sum(f"{cell}: packets that came twice", ours, "duplicated")
    yield from _moved(cell, ours)


def _ratio(cell: str, samples: Samples, peers: list[str], name: str, target: float) -> Iterator[Verdict]:
    """Our median against the best peer's; nothing where none of them moved the guest every time."""
    ours, best = figures.mid(figures.of(samples, peer=OURS), name), figures.best(samples, peers, name)
    if ours is None or best is None:
        return
    value = round(ours / best[1], 3)
    yield _verdict(f"{cell}: {_said(name)} against {best[0]}", target, value, "times", lambda a, b: a <= b)


def _below(cell: str, samples: Samples, peers: list[str], name: str, mine: str = OURS) -> Iterator[Verdict]:
    ours, best = figures.mid(figures.of(samples, peer=mine), name), figures.best(samples, peers, name)
    if ours is None or best is None:
        return
    value = round((ours - best[1]) * 1e3, 2)
    yield _verdict(f"{cell}: {_said(name)} less that of {best[0]}", 0.0, value, "ms", lambda a, b: a < b)


def _sum(what: str, samples: Samples, name: str) -> Verdict:
    return _verdict(what, 0, sum(sample[name] for sample in samples), "packets", lambda a, b: a <= b)


def _moved(cell: str, ours: Samples) -> Iterator[Verdict]:
    stayed = sum(not sample["moved"] for sample in ours)
    yield _verdict(f"{cell}: guests not moved in time", 0, stayed, "guests", lambda a, b: a <= b)
    longest = max(figures.values(ours, "blackout_s"), default=None)
    if ours[0]["dirty_percent"] > OVERLOADED_PERCENT and longest is not None:
        longest_ms, budget_ms = round(longest * 1e3, 2), BLACKOUT_BUDGET_S * 1e3
        yield _verdict(f"{cell}: longest blackout", budget_ms, longest_ms, "ms", lambda a, b: a <= b)


def _of_forecasts(ours: Samples) -> Iterator[Verdict]:
    for name, target in (("total", FORECAST_TOTAL), ("blackout", FORECAST_BLACKOUT)):
        errors = forecast_errors(ours, name)
        if errors:
            value = round(float(median(errors)), 3)
            yield _verdict(f"forecast of {name}: median error", target, value, "of 1", lambda a, b: a < b)


def forecast_errors(ours: Samples, name: str) -> list[float]:
    """|foreseen - happened| / happened, of the moves that were done."""
    found = []
    for sample in ours:
        pair = (sample.get("foreseen") or {}).get(name)
        if sample["moved"] and pair and pair["happened_s"] > 0:
            found.append(abs(pair["foreseen_s"] - pair["happened_s"]) / pair["happened_s"])
    return found


def _said(name: str) -> str:
    return name.removesuffix("_s")


def _verdict(
    name: str, target: float, value: float, unit: str, holds: Callable[[float, float], bool]
) -> Verdict:
    return {"name": name, "target": target, "value": value, "unit": unit, "holds": holds(value, target)}
