"""Nouns of a fleet's answer to failing hosts: what each said, what may be done of its own accord, and what is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from segue.model.fleet import Taint
from segue.model.health import Health, Kind, Level, Memory
from segue.model.plan import Plan


@dataclass(frozen=True, slots=True)
class Report:
    """What a host last said of its health, in one line."""

    host: str
    level: Level
    at_s: float
    since_s: float = 0.0
    text: str = ""
    rule: str = ""
    """The rule that decided the level."""
    kind: Kind | None = None
    """The sort of part that decided it."""


@dataclass(frozen=True)
class Sensed:
    """What a host's BMC says of it, judged: under `sensors/HOST`. `memory`: what the next leader's verdicts rest on."""

    host: str
    at_s: float
    """When the BMC last said anything."""
    report: Report
    health: Health
    memory: Memory
    mended: tuple[str, ...] = ()
    """Parts of which a person has said so, and that the leader has not heard of yet."""


@dataclass(frozen=True, slots=True)
class Warned:
    """A person says that a part of a domain has failed: under `warnings/LABEL=VALUE`, until it is taken back."""

    label: str
    value: str
    reason: str
    by: str
    at_s: float


@dataclass(frozen=True, slots=True)
class AnswerOrders:
    """What a fleet may do by itself. The caps bound what a false alarm can cost."""

    at_once: int = 1
    """So many hosts are evacuated at once at most; 0: a person evacuates."""
    share_at_once: float = 0.10
    """And never more than this share of the fleet, but one."""
    storm_hosts: int = 3
    storm_share: float = 0.25
    """More hosts than this share failing at once is a storm: Windows failover clusters quarantine no more."""
    storm_window_s: float = 3_600.0
    domains: tuple[str, ...] = ("rack", "feed", "switch")
    trusted: frozenset[str] = frozenset()
    """Rules that are believed in a storm too."""
    approved: frozenset[str] = frozenset()
    """Hosts of which a person has said that they shall be evacuated."""
    stale_s: float = 600.0
    """A report that is older says nothing about now."""


class StormKind(StrEnum):
    """What many verdicts at once may mean."""

    FLEET = "fleet"
    """So many at once are rather a fault of ours, or of an update."""
    RULE = "rule"
    """One rule, several hosts: a sort of sensor that lies, or a firmware that began to count."""
    DOMAIN = "domain"
    """A whole rack: its power, its cooling, its switch."""


@dataclass(frozen=True, slots=True)
class Storm:
    """Failing hosts that have something in common; `what`: which rule, or which domain."""

    kind: StormKind
    what: str
    hosts: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Evacuation:
    """A host that is to be emptied now. `guests`: those that leave first come first."""

    host: str
    why: str
    guests: tuple[str, ...]
    storage_post_copy: bool = False
    """A disk is what fails: guests with disks on the host run elsewhere first, and pull them after them."""


@dataclass(frozen=True, slots=True)
class Held:
    """A failing host that is not emptied now."""

    host: str
    why: str
    todo: str


@dataclass(frozen=True)
class Answer:
    """All of it. Taints are those that hosts shall have by their health; one that is not here goes."""

    taints: Mapping[str, Taint] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    evacuations: tuple[Evacuation, ...] = ()
    held: tuple[Held, ...] = ()
    storms: tuple[Storm, ...] = ()
    plan: Plan | None = None
    """Where the guests of the evacuations go, and which stay and why; None where none is evacuated."""
