"""Parts, readings and long watches of them, for the tests of health."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segue.model.health import History, Kind, Level, Memory, Part, Reading, Rule, Sample, Verdict
from segue.policy import health, health_series
from segue.policy.health_table import BUILT_IN

LOOK_S = 60.0
DIMM = Part(Kind.MEMORY, "DIMM_A1")
DISK = Part(Kind.DISK, "sda")


def rule(name: str) -> Rule:
    return next(one for one in BUILT_IN if one.name == name)


class Watcher:
    """A host that is looked at; times are seconds since the first look."""

    def __init__(self, rules: Sequence[Rule] = BUILT_IN) -> None:
        self.rules = rules
        self.history, self.memory = History(), Memory()
        self.now_s = 0.0
        self.boot = "boot 1"
        self._spans = health.spans(rules)

    def look(self, *readings: Reading, probe: str = "edac") -> None:
        sample = Sample(probe, readings)
        self.history = health_series.add(self.history, sample, self.now_s, self.boot, self._spans)

    def judge(self) -> tuple[Verdict, ...]:
        self.memory, verdicts = health.judge(self.rules, self.history, self.memory, self.now_s)
        return verdicts

    def see(self, value: float, part: Part = DIMM, signal: str = "corrected", probe: str = "edac") -> Verdict:
        self.look(Reading(part, signal, value, f"/sys/{signal}"), probe=probe)
        return next(verdict for verdict in self.judge() if verdict.part == part.key)

    def rest(self, seconds: float = LOOK_S) -> None:
        self.now_s += seconds


def levels(
    watch: Watcher, value_at: Callable[[float], float], looks: int, every_s: float = LOOK_S
) -> list[Level]:
    """The level after each look at a signal that has these values."""
    found = []
    for _ in range(looks):
        found.append(watch.see(value_at(watch.now_s)).level)
        watch.rest(every_s)
    return found
