"""What a task that creates an application asks for: which guest planners place, and what its agent is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from segue.model import guest as guests
from segue.model.application import Application
from segue.model.guest import Guest, Nic
from segue.wire.apps import RunApp

MARK: Final = "is_app"
"""In the task's wish, beside the fields of RunApp."""
PATH: Final = "/v1/apps"
PULL_S: Final = 900.0
"""A large image over a slow line; the agent goes on by itself, and the next try finds the image there."""


def wished(wish: Mapping[str, Any]) -> RunApp | None:
    """None where the task is about a machine."""
    return msgspec.convert(dict(wish), RunApp) if wish.get(MARK) else None


def spec(wish: RunApp) -> Guest:
    """As far as planners need it."""
    cards = tuple(Nic(str(n), nic.mac, nic.bridge, network=nic.network) for n, nic in enumerate(wish.nics))
    app = Application(image="", reference=wish.image, args=(), cpus=wish.cpus)
    return guests.application(wish.name, "", wish.memory_bytes, app, cards)
