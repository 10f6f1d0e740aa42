"""Learns from earlier migrations what a forecast cannot measure: fixed costs, and how wrong forecasts are here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from segue.model.foresight import Lessons
from segue.model.lifecycle import Stage
from segue.model.migration import Migration
from segue.policy import forecast

NEWEST: Final = 20
"""Older migrations tell of another network, another load, another QEMU."""
LEAST: Final = 2
"""From fewer no range is learnt, and nothing from other guests; the one earlier move of the guest itself says more of
its fixed costs than figures from a lab."""
LONG_S: Final = 1.0
"""A shorter copy is lost in the fixed costs, and says nothing of the path."""
SCALE_MOST: Final = 5.0
CERTAIN: Final = 0.8
"""Share of earlier forecasts that lie in the range shown."""
SPREAD_LEAST: Final = 0.1


@dataclass(frozen=True)
class Errors:
    """By how much forecasts were wrong, as shares of what happened; `runs` of 0: nothing to compare yet."""

    runs: int = 0
    total_median: float = 0.0
    total_worst: float = 0.0
    blackout_runs: int = 0
    blackout_median: float = 0.0
    blackout_worst: float = 0.0


def learn(earlier: Iterable[Migration], guest: str, *, before_memory: bool = False) -> Lessons:
    """From the newest of `earlier` that were done; `guest` itself teaches more than others do.

    before_memory: it is to run there before its memory; moves that went the same way teach more than others do.
    """
    done = comparable(earlier)
    own = [migration for migration in done if migration.guest == guest]
    alike = [migration for migration in own if _ran_before_its_memory(migration) is before_memory]
    own = alike if len(alike) >= LEAST else own
    chosen = (own if len(own) >= LEAST or len(done) < LEAST else done)[:NEWEST]
    if not chosen:
        return Lessons()
    scale = _scale(chosen)
    fixed = Lessons(
        runs=len(chosen),
        copy_scale=scale,
        fixed_total_s=max(0.1, median(_total_beside(m, scale) for m in chosen)),
        fixed_blackout_s=_fixed_blackout_s(chosen),
    )
    if len(chosen) < LEAST:
        return fixed
    return Lessons(
        fixed.runs,
        fixed.copy_scale,
        fixed.fixed_total_s,
        fixed.fixed_blackout_s,
        total_spread=_spread([_off(_again(m, fixed), m.outcome.total_s) for m in chosen]),
        blackout_spread=_spread([_off(_blackout_again(m, fixed), m.outcome.blackout_s) for m in chosen]),
    )


def errors(records: Iterable[Migration]) -> Errors:
    """How wrong the forecasts were that were given before each migration."""
    done = comparable(records)
    if not done:
        return Errors()
    total = [_off(m.forecast.total_s, m.outcome.total_s) for m in done if m.forecast]
    seen = [m for m in done if m.forecast and m.outcome.blackout_s > 0]
    blackout = [_off(m.forecast.blackout_s, m.outcome.blackout_s) for m in seen if m.forecast] or [0.0]
    return Errors(len(total), median(total), max(total), len(seen), median(blackout), max(blackout))


def comparable(records: Iterable[Migration]) -> list[Migration]:
    """Those that ended as they were meant to, with a forecast, newest first."""
    moved = (m for m in records if m.stage is Stage.DONE and not (m.in_place or m.application or m.cold))
    done = [m for m in moved if m.forecast is not None and m.outcome.total_s > 0]
    return sorted(done, key=lambda migration: -migration.started_s)


def _scale(chosen: Sequence[Migration]) -> float:
    long = [m for m in chosen if m.forecast and m.forecast.copy_s >= LONG_S and m.outcome.copy_s > 0]
    if len(long) < LEAST:
        return 1.0
    found = median(m.outcome.copy_s / m.forecast.copy_s for m in long if m.forecast)
    return min(SCALE_MOST, max(1 / SCALE_MOST, found))


def _total_beside(migration: Migration, scale: float) -> float:
    """What it took beside the copy that the formula foresees."""
    foreseen = migration.forecast
    assert foreseen is not None
    return migration.outcome.total_s - scale * foreseen.copy_s - foreseen.disks_s - foreseen.rest_s


def _fixed_blackout_s(chosen: Sequence[Migration]) -> float:
    seen = [
        m.outcome.blackout_s - _measurable_s(m) for m in chosen if m.forecast and m.outcome.blackout_s > 0
    ]
    return max(0.002, median(seen)) if seen else Lessons().fixed_blackout_s


def _measurable_s(migration: Migration) -> float:
    """Of its blackout, what was not fixed."""
    assert migration.forecast is not None
    rest_s = 0.0 if _ran_before_its_memory(migration) else migration.forecast.rest_s
    return rest_s + forecast.mirrored_s(migration.copied_before)


def _ran_before_its_memory(migration: Migration) -> bool:
    return migration.outcome.serving_s > 0


def _again(migration: Migration, lessons: Lessons) -> float:
    """What would have been foreseen with these lessons."""
    foreseen = migration.forecast
    assert foreseen is not None
    return lessons.fixed_total_s + lessons.copy_scale * foreseen.copy_s + foreseen.disks_s + foreseen.rest_s


def _blackout_again(migration: Migration, lessons: Lessons) -> float:
    return lessons.fixed_blackout_s + _measurable_s(migration)


def _off(foreseen: float, happened: float) -> float:
    return abs(foreseen - happened) / max(happened, 1e-6)


def _spread(offs: Sequence[float]) -> float:
    ordered = sorted(offs)
    return max(SPREAD_LEAST, ordered[min(len(ordered) - 1, int(CERTAIN * len(ordered)))])
