"""Which fleet a host belongs to: the id that stands in the fleet's store, and that each agent remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

OWN: Final = "fleet/identity"
"""It is content: a backup, a restore and a migration of the store keep it."""


@dataclass(frozen=True)
class Identity:
    """What stands under OWN. `succeeds`: fleets in whose place this one was put; their hosts are welcome."""

    id: str
    since_s: float = 0.0
    succeeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Strangers:
    """This fleet, and hosts that came to its leader and belong to another one: host -> that fleet's id."""

    id: str
    succeeds: tuple[str, ...] = ()
    strangers: dict[str, str] = field(default_factory=dict)
