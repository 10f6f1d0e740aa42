"""Nouns of a host's health: what probes saw, what is remembered, and the verdicts. Nothing here decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """From well to gone; the order of the words is the order of the trouble."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    FAILING = "failing"
    DEAD = "dead"

    @property
    def rank(self) -> int:
        """0 for healthy, 3 for dead."""
        return RANKS[self]


RANKS: Final[Mapping[Level, int]] = {level: rank for rank, level in enumerate(Level)}
TROUBLE: Final = (Level.SUSPECT, Level.FAILING, Level.DEAD)


class Kind(StrEnum):
    """Sorts of parts."""

    MEMORY = "memory"
    CPU = "cpu"
    DISK = "disk"
    STORAGE = "storage"
    """File systems and the paths to them."""
    NIC = "nic"
    POWER = "power"
    FAN = "fan"
    TEMPERATURE = "temperature"
    KERNEL = "kernel"
    PRESSURE = "pressure"
    CLOCK = "clock"
    GUEST = "guest"
    """A guest's QEMU."""
    AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a host. `spares`: parts with the same word here stand in for each other, such as power supplies."""

    kind: Kind
    name: str
    spares: str = ""

    @property
    def key(self) -> str:
        """How it is written: memory/DIMM_A1."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Reading:
    """One figure of one part, and where a person finds it."""

    part: Part
    signal: str
    value: float
    source: str
    thing: str = ""
    """What bears the part's name just now, by a number of its own, where that is known: the kernel may call another
    disk `sda` after the next boot, and what that one has counted in its life did not happen today."""


@dataclass(frozen=True, slots=True)
class Blind:
    """What a probe could not see. It is never held against a part."""

    probe: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What one probe saw at one look."""

    probe: str
    readings: tuple[Reading, ...] = ()
    blind: tuple[Blind, ...] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A value that stood from `at_s` on, and by how much it had risen in all until then."""

    at_s: float
    value: float
    risen: float = 0.0


@dataclass(frozen=True, slots=True)
class Series:
    """One signal of one part over time; a value that stays the same is one point."""

    part: Part
    signal: str
    probe: str
    source: str
    boot: str
    seen_s: float
    """When it was last looked at."""
    points: tuple[Point, ...]
    thing: str = ""


@dataclass(frozen=True)
class History:
    """All that is remembered of what was seen. Series by `part.key signal`."""

    series: Mapping[str, Series] = field(default_factory=dict)
    looked_s: Mapping[str, float] = field(default_factory=dict)
    """Probe -> when it last saw everything that it looks at."""
    blind: Mapping[str, tuple[Blind, ...]] = field(default_factory=dict)
    """Probe -> what it could not see at its last look."""


class Measure(StrEnum):
    """How a figure is made of a series."""

    RISE = "rise"
    """By how much a counter rose within the span."""
    RATIO = "ratio"
    """The rise of a counter for each one by which another rose."""
    STEADY = "steady"
    """What a level never went below (or above, where less is worse) within the span."""
    OF_BEST = "of_best"
    """What a level is now, as a share of its best within the span."""
    TIME_LEFT = "time_left"
    """Seconds until a level is at zero, at the pace of the span."""
    ABSENT = "absent"
    """Seconds for which a part is no longer there, though its probe sees the others."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One signal, one measure, and the limits of it. At least one limit is set."""

    name: str
    kind: Kind
    signal: str
    measure: Measure
    says: str
    """What the figure is, in an explanation: "corrected errors"."""
    span_s: float
    suspect: float | None = None
    failing: float | None = None
    dead: float | None = None
    below: bool = False
    """Less is worse."""
    per: str = ""
    """RATIO: the signal that is divided by."""
    at_least: float = 0.0
    """RATIO: below this rise of the signal itself nothing is said."""
    release: float = 0.9
    """A limit that was reached is let go at this share of it (where less is worse: at its reciprocal)."""
    calm_s: float = 0.0
    """And only after so long."""
    at_once: bool = False
    """RISE, RATIO: one look is enough to fail. It is for what is counted in a log: a counter may be misread."""
    figure: str = ""
    """Where the limits come from."""

    def limit(self, level: Level) -> float | None:
        """The limit of a level; None where the rule does not speak of it."""
        return {Level.SUSPECT: self.suspect, Level.FAILING: self.failing, Level.DEAD: self.dead}[level]


@dataclass(frozen=True, slots=True)
class Trip:
    """A limit that was reached at a part."""

    rule: str
    part: Part
    level: Level
    probe: str
    since_s: float
    over_s: float
    """When it was last not let go."""
    on: bool
    text: str
    source: str
    value: float
    """The last figure."""
    limit: float


@dataclass(frozen=True, slots=True)
class Reason:
    """What speaks against a part: a sentence that a person can check at its source."""

    rule: str
    level: Level
    text: str
    source: str
    value: float
    limit: float
    since_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a part is, and why; the gravest reason first."""

    part: str
    kind: Kind
    name: str
    level: Level
    spares: str = ""
    since_s: float = 0.0
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Incident:
    """A time in which a part was not healthy."""

    part: str
    level: Level
    """The gravest that it was."""
    began_s: float
    ended_s: float = 0.0
    """0 while it lasts."""
    text: str = ""


@dataclass(frozen=True)
class Memory:
    """What verdicts rest on beside the history: limits reached, and incidents, the newest last."""

    trips: Mapping[str, Trip] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True)
class Health:
    """A host and all its parts at one instant."""

    host: str
    level: Level
    at_s: float
    text: str = ""
    """What decided the level."""
    parts: tuple[Verdict, ...] = ()
    blind: tuple[Blind, ...] = ()
    incidents: tuple[Incident, ...] = ()
