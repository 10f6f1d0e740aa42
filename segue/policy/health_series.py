"""Turns what probes saw into series, and series into the figures that rules judge. Counters never count backwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from segue.model.health import History, Measure, Point, Reading, Rule, Sample, Series

BLINK_S: Final = 60.0
"""A link or a sensor that is away for less is not worse than before."""
POINTS_MOST: Final = 600
"""Of one series; beyond it every second of the older half goes. What rose in between stays counted."""
STALE_LOOKS_S: Final = 7_200.0
"""A value that was not looked at for so long says nothing about now; the rarest probe looks every half hour."""


def add(history: History, sample: Sample, at_s: float, boot: str, keep_s: Mapping[str, float]) -> History:
    """The history with one more look.

    boot: changes with each boot of the host: then counters begin at 0 again.
    keep_s: signal -> how long its points are wanted.
    """
    series = dict(history.series)
    for reading in sample.readings:
        key = f"{reading.part.key} {reading.signal}"
        span_s = keep_s.get(reading.signal, 0.0)
        series[key] = _with(series.get(key), reading, sample.probe, at_s, boot, span_s)
    looked = dict(history.looked_s)
    if not sample.blind:
        looked[sample.probe] = at_s
    blind = {**history.blind, sample.probe: sample.blind}
    return History(series, looked, blind)


def _with(before: Series | None, seen: Reading, probe: str, at_s: float, boot: str, span_s: float) -> Series:
    is_other = before is not None and seen.thing != before.thing and bool(seen.thing and before.thing)
    if before is None or not before.points or is_other:
        points: tuple[Point, ...] = (Point(at_s, seen.value),)
        return Series(seen.part, seen.signal, probe, seen.source, boot, at_s, points, seen.thing)
    last = before.points[-1]
    at_s = max(at_s, before.seen_s)
    now = replace(
        before,
        part=seen.part,
        probe=probe,
        source=seen.source,
        boot=boot,
        seen_s=at_s,
        thing=seen.thing or before.thing,
    )
    if seen.value == last.value:
        return replace(now, points=_kept(before.points, at_s - span_s))
    rebooted = boot != before.boot
    points = before.points if rebooted else _misread_undone(before.points, seen.value)
    # A look that was misread has counted nothing: what the counter was before it is what it is compared with.
    stood = last.value if points is before.points else points[-2].value
    step = rise(stood, seen.value, rebooted=rebooted)
    points = (*points, Point(at_s, seen.value, points[-1].risen + step))
    return replace(now, points=_kept(points, at_s - span_s))


def _misread_undone(points: tuple[Point, ...], value: float) -> tuple[Point, ...]:
    """A counter that is back where it was before its last rise never rose: that look was misread.

    One that begins anew (its driver was loaded again) falls below what it showed before, and keeps what it counted.
    """
    if len(points) < 2 or not points[-2].value <= value < points[-1].value:
        return points
    return (*points[:-1], replace(points[-1], risen=points[-2].risen))


def rise(before: float, now: float, *, rebooted: bool) -> float:
    """What a counter really counted. One that jumps back counted nothing, except after a boot: then all it shows."""
    if now >= before:
        return now - before
    return now if rebooted else 0.0


def _kept(points: tuple[Point, ...], from_s: float) -> tuple[Point, ...]:
    """The points of the span, and the one that stood when it began."""
    first = 0
    while first + 1 < len(points) and points[first + 1].at_s <= from_s:
        first += 1
    points = points[first:] if first else points
    if len(points) > POINTS_MOST:
        half = len(points) // 2
        points = (*points[:half:2], *points[half:])
    return points


def forget(history: History, part: str) -> History:
    """The history without a part, which was replaced or taken out."""
    kept = {key: series for key, series in history.series.items() if series.part.key != part}
    return replace(history, series=kept)


def figure(rule: Rule, series: Series, history: History, now_s: float) -> float | None:
    """The rule's figure; None where it cannot be told yet, or not any more."""
    if rule.measure is Measure.ABSENT:
        return max(0.0, history.looked_s.get(series.probe, 0.0) - series.seen_s)
    if now_s - series.seen_s > STALE_LOOKS_S:
        return None
    if rule.measure is Measure.RATIO:
        return _ratio(rule, series, history, now_s)
    if rule.measure is Measure.STEADY:
        return _steady(series, rule.span_s, now_s, below=rule.below)
    alone = {Measure.RISE: risen, Measure.OF_BEST: _of_best, Measure.TIME_LEFT: _time_left}
    return alone[rule.measure](series, rule.span_s, now_s)


def risen(series: Series, span_s: float, now_s: float) -> float:
    """By how much a counter rose within the last `span_s`."""
    return series.points[-1].risen - _at(series, now_s - span_s).risen


def borne_out(rule: Rule, series: Series, history: History, limit: float, now_s: float) -> bool:
    """True where more than one look says that the limit was reached: one alone may be misread.

    Of a rise each look counts for half of the limit at most; a value that needs no time to count must stand twice.
    """
    needed = limit
    if rule.measure is Measure.RATIO:
        other = history.series.get(f"{series.part.key} {rule.per}")
        needed = limit * max(risen(other, rule.span_s, now_s), 1.0) if other is not None else limit
    if rule.measure in {Measure.RISE, Measure.RATIO}:
        return (
            rule.at_once
            or needed <= 1
            or _risen_by_looks(series, rule.span_s, now_s, most=needed / 2) >= needed
        )
    if rule.measure is Measure.STEADY and not rule.span_s and (rule.below or limit > 1):
        last = series.points[-1]
        if series.seen_s > last.at_s:
            return True
        before = series.points[-2].value if len(series.points) > 1 else None
        return before is not None and (before < limit if rule.below else before >= limit)
    return True


def _risen_by_looks(series: Series, span_s: float, now_s: float, most: float) -> float:
    """As `risen`, with each look's share bounded."""
    begun = _at(series, now_s - span_s)
    within = [begun, *(point for point in series.points if point.at_s > max(begun.at_s, now_s - span_s))]
    return sum(min(after.risen - before.risen, most) for before, after in pairwise(within))


def _at(series: Series, at_s: float) -> Point:
    """What stood then; the oldest point where the history does not reach so far."""
    found = series.points[0]
    for point in reversed(series.points):
        if point.at_s <= at_s:
            return point
    return found


def _ratio(rule: Rule, series: Series, history: History, now_s: float) -> float | None:
    other = history.series.get(f"{series.part.key} {rule.per}")
    events = risen(series, rule.span_s, now_s)
    if other is None:
        return None
    if events < rule.at_least:
        return 0.0
    return events / max(risen(other, rule.span_s, now_s), 1.0)


def _steady(series: Series, span_s: float, now_s: float, *, below: bool) -> float | None:
    """None until it was watched for the whole span."""
    begun_s = now_s - span_s
    if series.points[0].at_s > begun_s:
        return None
    values = [_at(series, begun_s).value, *(p.value for p in series.points if p.at_s > begun_s)]
    return max(values) if below else min(values)


def _of_best(series: Series, span_s: float, now_s: float) -> float | None:
    """None for what was never there at all, such as the carrier of a port without a cable."""
    best = _best_since(series, now_s - span_s)
    return _best_since(series, now_s - BLINK_S) / best if best > 0 else None


def _best_since(series: Series, begun_s: float) -> float:
    return max(_at(series, begun_s).value, *(p.value for p in series.points if p.at_s > begun_s), 0.0)


def _time_left(series: Series, span_s: float, now_s: float) -> float | None:
    """None unless it fell, over a span that was watched whole."""
    begun = _at(series, now_s - span_s)
    last = series.points[-1]
    if begun.at_s > now_s - span_s or last.value >= begun.value:
        return None
    return last.value / ((begun.value - last.value) / span_s)


def ordered(series: Series) -> bool:
    """What every series keeps to: times and rises that only grow."""
    return all(a.at_s <= b.at_s and a.risen <= b.risen for a, b in pairwise(series.points))
