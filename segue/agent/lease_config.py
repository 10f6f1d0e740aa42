"""The table [lease] of agent.toml: whether this host may run guests only by the word of a majority of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Final

SECONDS_LEAST: Final = 4.0
WATCHDOG_LEAST: Final = 2.0


@dataclass(frozen=True)
class LeaseConfig:
    """By default there is none, and guests run on whatever happens around their host."""

    seconds: float = 0.0
    """A guest is ended when its host was cut off from the majority for so long; 0: never."""
    watchdog: str = "/dev/watchdog"
    watchdog_seconds: float = 4.0
    """The machine is reset when its guard does not run for so long."""


def unknown_keys(content: dict[str, Any]) -> list[str]:
    """Misspelt keys, which would be silently without effect."""
    table = content.get("lease", {})
    known = {field.name for field in fields(LeaseConfig)}
    return sorted(f"lease.{key}" for key in table.keys() - known)


def problems(config: LeaseConfig) -> Iterator[str]:
    """What is wrong with it."""
    if config.seconds and config.seconds < SECONDS_LEAST:
        yield f"lease.seconds is less than {SECONDS_LEAST:g}: a busy network would end guests"
    if config.watchdog_seconds < WATCHDOG_LEAST or config.watchdog_seconds != int(config.watchdog_seconds):
        yield f"lease.watchdog_seconds is no whole number of at least {WATCHDOG_LEAST:g}"
    if not config.watchdog.startswith("/"):
        yield "lease.watchdog is no path"
