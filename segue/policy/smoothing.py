"""Turns counters into rates, and rates into averages that follow the load and not its spikes. Pure."""

from __future__ import annotations

from math import exp
from typing import Final

from segue.model.load import Meter, Smoothed, Use

NOW_S: Final = 60.0
BEFORE_S: Final = 600.0
"""Time constants: what is so long ago counts e times less."""


def use(before: Meter, now: Meter, over_s: float) -> Use:
    """The rates between two readings. A counter that fell began again: it counts from nothing."""
    return Use(
        _rate(before.cpu_s, now.cpu_s, over_s),
        _rate(before.waited_s, now.waited_s, over_s),
        _rate(before.received_bytes, now.received_bytes, over_s),
        _rate(before.sent_bytes, now.sent_bytes, over_s),
        _rate(before.read_bytes, now.read_bytes, over_s),
        _rate(before.written_bytes, now.written_bytes, over_s),
    )


def smooth(known: Smoothed, sample: Use, over_s: float) -> Smoothed:
    """With one more sample. The first is taken as it is, so that nothing seems to start from zero."""
    return Smoothed(
        _blend(known.now, sample, _part(known.span_s, over_s, NOW_S)),
        _blend(known.before, sample, _part(known.span_s, over_s, BEFORE_S)),
        known.span_s + over_s,
    )


def _part(span_s: float, over_s: float, constant_s: float) -> float:
    """What the sample counts beside all that came before it."""
    return (1 - exp(-over_s / constant_s)) / (1 - exp(-(span_s + over_s) / constant_s))


def _blend(known: Use, sample: Use, part: float) -> Use:
    def mixed(old: float, new: float) -> float:
        return old + part * (new - old)

    return Use(
        mixed(known.cpu_cores, sample.cpu_cores),
        mixed(known.waiting_cores, sample.waiting_cores),
        mixed(known.received_bytes_per_s, sample.received_bytes_per_s),
        mixed(known.sent_bytes_per_s, sample.sent_bytes_per_s),
        mixed(known.read_bytes_per_s, sample.read_bytes_per_s),
        mixed(known.written_bytes_per_s, sample.written_bytes_per_s),
    )


def _rate(before: float, now: float, over_s: float) -> float:
    return (now - before if now >= before else now) / over_s
