"""The table [health] of agent.toml: where the sources are, how often they are looked at, and an operator's rules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

from segue.adapters.health.source import Roots
from segue.model.health import Rule
from segue.policy import health_rules

PROBES: Final = (
    *("memory", "rasdaemon", "cpu", "block", "smart", "nic", "hwmon", "kmsg", "pressure", "clock", "qemu"),
    *("storage", "loop", "journal"),
)


@dataclass(frozen=True)
class HealthConfig(Roots):
    """Where the probes look, and by which rules they are judged."""

    every_s: float = 0.0
    """Probes that only read look so often at least; 0: each by its own schedule."""
    off: tuple[str, ...] = ()
    """Probes that do not look."""
    without: tuple[str, ...] = ()
    """Built-in rules that are not applied."""
    rules: tuple[Rule, ...] = ()
    """Further rules; one with the name of a built-in one takes its place."""


def unknown_keys(content: dict[str, Any]) -> list[str]:
    """Misspelt keys, which would be silently without effect."""
    table = content.get("health", {})
    unknown = [f"health.{key}" for key in table.keys() - {field.name for field in fields(HealthConfig)}]
    for number, rule in enumerate(table.get("rules", ()), start=1):
        known = {field.name for field in fields(Rule)}
        unknown += [f"health.rules[{rule.get('name', number)}].{key}" for key in rule.keys() - known]
    return sorted(unknown)


def problems(config: HealthConfig) -> Iterator[str]:
    """What is wrong with it."""
    for name in sorted(set(config.off) - set(PROBES)):
        yield f"health.off names {name}, and there is no such probe; there are: {', '.join(PROBES)}"
    if config.every_s < 0 or 0 < config.every_s < 1:
        yield "health.every_s must be 0, or 1 at least"
    for fault in health_rules.faults(config.rules, config.without):
        yield f"health: {fault}"
