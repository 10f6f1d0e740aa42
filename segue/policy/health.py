"""Judges the parts of a host by what was seen of them over time. Pure: a history in, verdicts and their memory out.

A limit that was reached is let go only well below it and after a calm time, so that a constant rate never flaps. What
was failing stays suspect for a month, unless a person says that it was mended. One source alone makes no part dead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from segue.model.health import (
    TROUBLE,
    Health,
    History,
    Incident,
    Kind,
    Level,
    Measure,
    Memory,
    Part,
    Reason,
    Rule,
    Series,
    Trip,
    Verdict,
)
from segue.policy import health_series

SHORT_MEMORY_S: Final = 7 * 86_400.0
"""For so long a limit that was reached once is reached again where it would only be let go."""
LONG_MEMORY_S: Final = 30 * 86_400.0
"""Who was failing stays suspect for so long: after its first scan error a disk is 39 times likelier to fail within 60
days (Google 2007), and errors of memory come back in the same month (Schroeder 2009)."""
NOT_MENDED: Final = "nobody said that it was mended"
INCIDENTS_KEPT: Final = 200
ASIDE: Final = frozenset({Kind.PRESSURE, Kind.CLOCK, Kind.AGENT})
"""Shown and told, but no reason to keep guests away: load, time and this program are nobody's failing hardware."""
AT_MOST_SUSPECT: Final = frozenset({Kind.GUEST})
"""A guest's own trouble does not condemn its host."""


def spans(rules: Iterable[Rule]) -> dict[str, float]:
    """Signal -> how long its points are wanted."""
    wanted: dict[str, float] = {}
    for rule in rules:
        for signal in filter(None, (rule.signal, rule.per)):
            wanted[signal] = max(wanted.get(signal, 0.0), rule.span_s)
    return wanted


def judge(
    rules: Sequence[Rule], history: History, memory: Memory, now_s: float
) -> tuple[Memory, tuple[Verdict, ...]]:
    """What is remembered from now on, and a verdict for every part that was ever seen and not forgotten."""
    trips = dict(memory.trips)
    by_signal: dict[tuple[Kind, str], list[Rule]] = {}
    for rule in rules:
        by_signal.setdefault((rule.kind, rule.signal), []).append(rule)
    for series in history.series.values():
        for rule in by_signal.get((series.part.kind, series.signal), ()):
            value = health_series.figure(rule, series, history, now_s)
            if value is not None:
                _trip(trips, rule, series, value, history, now_s)
    known = {rule.name for rule in rules}
    trips = {
        key: trip
        for key, trip in trips.items()
        if trip.rule in known and (trip.on or now_s - trip.over_s <= LONG_MEMORY_S)
    }
    verdicts = tuple(_verdicts(history, trips, now_s))
    return Memory(trips, _incidents(memory.incidents, verdicts, now_s)), verdicts


def forget(memory: Memory, part: str, now_s: float) -> Memory:
    """A person says that the part was mended: nothing of before counts."""
    trips = {key: trip for key, trip in memory.trips.items() if trip.part.key != part}
    ended = tuple(
        replace(one, ended_s=now_s) if one.part == part and not one.ended_s else one
        for one in memory.incidents
    )
    return Memory(trips, ended)


def _trip(
    trips: dict[str, Trip], rule: Rule, series: Series, value: float, history: History, now_s: float
) -> None:
    """Each limit of the rule: reached, held, or let go."""
    for level in TROUBLE:
        limit = _limit(rule, level)
        if limit is None:
            continue
        key = f"{series.part.key} {rule.name} {level}"
        before = trips.get(key)
        recent = before is not None and (before.on or now_s - before.over_s <= SHORT_MEMORY_S)
        bound = _eased(rule, limit) if recent else limit
        held = before is not None and before.on
        sure = held or level is Level.SUSPECT or health_series.borne_out(rule, series, history, bound, now_s)
        if sure and (value < bound if rule.below else value >= bound):
            trips[key] = Trip(
                rule=rule.name,
                part=series.part,
                level=level,
                probe=series.probe,
                since_s=before.since_s if before is not None and before.on else now_s,
                over_s=now_s,
                on=True,
                text=explain(rule, series.part, value, limit),
                source=series.source,
                value=value,
                limit=limit,
            )
        elif before is not None and before.on:
            over = now_s - before.over_s >= rule.calm_s
            trips[key] = replace(before, on=not over, value=value)


def _limit(rule: Rule, level: Level) -> float | None:
    """A rule that names no limit for a suspicion suspects at its next one, which takes more than one look."""
    return next(filter(None, map(rule.limit, TROUBLE)), None) if level is Level.SUSPECT else rule.limit(level)


def _eased(rule: Rule, limit: float) -> float:
    """Where the limit was reached lately, less is enough."""
    return limit / rule.release if rule.below else limit * rule.release


def _verdicts(history: History, trips: Mapping[str, Trip], now_s: float) -> Iterator[Verdict]:
    parts: dict[str, Part] = {series.part.key: series.part for series in history.series.values()}
    against: dict[str, list[Trip]] = {}
    for trip in trips.values():
        parts.setdefault(trip.part.key, trip.part)
        against.setdefault(trip.part.key, []).append(trip)
    for key in sorted(parts):
        yield _verdict(parts[key], against.get(key, []), now_s)


def _verdict(part: Part, trips: Sequence[Trip], now_s: float) -> Verdict:
    now = [_reason(trip) for trip in trips if trip.on]
    level = max((trip.level for trip in trips if trip.on), key=_rank, default=Level.HEALTHY)
    if level is Level.DEAD and not _confirmed(trips):
        alone = [trip.level for trip in trips if trip.on and trip.level is not Level.DEAD]
        level = max(alone, key=_rank, default=Level.FAILING)
        now = [replace(reason, level=min(reason.level, level, key=_rank)) for reason in now]
    if level is Level.HEALTHY:
        now = [_remembered(trip, now_s) for trip in trips if trip.level.rank >= Level.FAILING.rank][:1]
        level = Level.SUSPECT if now else Level.HEALTHY
    reasons = tuple(sorted(_one_per_rule(now), key=lambda reason: (-reason.level.rank, reason.since_s)))
    return Verdict(
        part=part.key,
        kind=part.kind,
        name=part.name,
        level=level,
        spares=part.spares,
        since_s=min((reason.since_s for reason in reasons if reason.level is level), default=0.0),
        reasons=reasons,
    )


def _rank(level: Level) -> int:
    return level.rank


def _confirmed(trips: Sequence[Trip]) -> bool:
    """One probe says dead, and another one that it fails at least: two sources that do not know of each other."""
    dead = {trip.probe for trip in trips if trip.on and trip.level is Level.DEAD}
    grave = {trip.probe for trip in trips if trip.on and trip.level.rank >= Level.FAILING.rank}
    return any(grave - {probe} for probe in dead)


def _one_per_rule(reasons: Iterable[Reason]) -> Iterable[Reason]:
    """Of a rule whose limits were reached one after the other, the gravest."""
    best: dict[str, Reason] = {}
    for reason in reasons:
        if reason.rule not in best or reason.level.rank > best[reason.rule].level.rank:
            best[reason.rule] = reason
    return best.values()


def _reason(trip: Trip) -> Reason:
    return Reason(trip.rule, trip.level, trip.text, trip.source, trip.value, trip.limit, trip.since_s)


def _remembered(trip: Trip, now_s: float) -> Reason:
    days = (now_s - trip.over_s) / 86_400
    text = f"it was failing {days:.1f} days ago, and {NOT_MENDED}: {trip.text}"
    return replace(_reason(trip), level=Level.SUSPECT, text=text, since_s=trip.over_s)


def is_memory(reason: Reason) -> bool:
    """True where nothing is at its limit now."""
    return NOT_MENDED in reason.text


def explain(rule: Rule, part: Part, value: float, limit: float) -> str:
    """One sentence with the figure, its span and the limit."""
    figure, bound, span = shown(value), shown(limit), duration(rule.span_s)
    match rule.measure:
        case Measure.RISE:
            what = f"{figure} {rule.says} in the last {span}"
        case Measure.RATIO:
            what = f"{figure} {rule.says} in the last {span}"
        case Measure.STEADY:
            what = f"{rule.says} {figure} for {span}"
        case Measure.OF_BEST:
            what = f"{rule.says} at {figure} of its best in the last {span}"
        case Measure.TIME_LEFT:
            what, bound = f"{rule.says} in {duration(value)} at the pace of the last {span}", duration(limit)
        case Measure.ABSENT:
            what, bound = f"{rule.says} for {duration(value)}", duration(limit)
    return f"{part.name}: {what}, limit {'below ' if rule.below else ''}{bound}"


def shown(value: float) -> str:
    """A figure with three digits that count."""
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e7 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """The largest unit that fits."""
    for unit, length in (("days", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length and (unit != "days" or seconds > length):
            return f"{shown(round(seconds / length, 1))} {unit}"
    return f"{shown(round(seconds, 1))} s"


def _incidents(
    before: tuple[Incident, ...], verdicts: Sequence[Verdict], now_s: float
) -> tuple[Incident, ...]:
    going_on = {one.part: one for one in before if not one.ended_s}
    kept = [one for one in before if one.ended_s]
    for verdict in verdicts:
        one = going_on.pop(verdict.part, None)
        if verdict.level is Level.HEALTHY:
            if one is not None:
                kept.append(replace(one, ended_s=now_s))
        elif one is None:
            kept.append(Incident(verdict.part, verdict.level, now_s, text=verdict.reasons[0].text))
        elif verdict.level.rank > one.level.rank:
            kept.append(replace(one, level=verdict.level, text=verdict.reasons[0].text))
        else:
            kept.append(one)
    kept += [replace(one, ended_s=now_s) for one in going_on.values()]
    return tuple(sorted(kept, key=lambda one: one.began_s))[-INCIDENTS_KEPT:]


def of_host(host: str, verdicts: Sequence[Verdict], history: History, memory: Memory, now_s: float) -> Health:
    """The host as its parts make it. It is at most failing: that a host is dead is for others to say."""
    weights = [(bearing(verdict, verdicts), verdict) for verdict in verdicts]
    level, worst = max(weights, key=lambda pair: pair[0].rank, default=(Level.HEALTHY, None))
    text = worst.reasons[0].text if worst is not None and level is not Level.HEALTHY else ""
    blind = tuple(one for probe in sorted(history.blind) for one in history.blind[probe])
    return Health(host, level, now_s, text, tuple(verdicts), blind, memory.incidents)


def bearing(verdict: Verdict, every: Sequence[Verdict]) -> Level:
    """What a part's verdict means for its host and the guests on it."""
    if verdict.kind in ASIDE:
        return Level.HEALTHY
    most = Level.SUSPECT if verdict.kind in AT_MOST_SUSPECT or _spared(verdict, every) else Level.FAILING
    return min(verdict.level, most, key=_rank)


def _spared(verdict: Verdict, every: Sequence[Verdict]) -> bool:
    """Another part does the same work, and is not failing."""
    return bool(verdict.spares) and any(
        other.spares == verdict.spares
        and other.part != verdict.part
        and other.level.rank <= Level.SUSPECT.rank
        for other in every
    )
