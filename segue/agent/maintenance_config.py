"""The table [maintenance] of agent.toml: whether controllers may run commands on this host, and how it reboots."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class MaintenanceConfig:
    """By default nobody runs anything here."""

    commands: bool = False
    """Controllers may run commands as root, and reboot the host."""
    reboot: tuple[str, ...] = ("systemctl", "reboot")
    """The command that reboots it."""


def unknown_keys(content: dict[str, Any]) -> list[str]:
    """Misspelt keys, which would be silently without effect."""
    table = content.get("maintenance", {})
    known = {field.name for field in fields(MaintenanceConfig)}
    return sorted(f"maintenance.{key}" for key in table.keys() - known)


def problems(config: MaintenanceConfig) -> Iterator[str]:
    """What is wrong with it."""
    if not config.reboot or not config.reboot[0]:
        yield "maintenance.reboot names no command"
