"""What ties a guest that crashed to its host, so that no other host can start it. It changes nothing."""

from __future__ import annotations

from pathlib import Path

from segue.agent.config import Config
from segue.model.guest import Guest


def to_its_host(config: Config, guest: Guest) -> str:
    """The reason in words; empty where another host may start it."""
    if not config.controllers:
        return "this host is in no fleet: no controller chooses another one"
    return by_its_disks(config, guest)


def by_its_disks(config: Config, guest: Guest) -> str:
    """Files that are on this host alone stay with it."""
    paths = [disk.path for disk in guest.disks if not Path(disk.path).is_relative_to(config.shared_dir)]
    return f"its {', '.join(paths)} is on this host alone" if paths else ""
