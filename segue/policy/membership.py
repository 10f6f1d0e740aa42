"""Whose word a host takes: two stores under one CA are two fleets, and a host belongs to one. It reads nothing."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
SHOWN: Final = 8
"""So much of an id is shown to people; it is enough to tell fleets apart."""


def heeds(belongs: str, fleet: str, succeeds: Collection[str] = ()) -> bool:
    """True where a host that `belongs` to a fleet (empty: to none yet) and a controller of `fleet` may speak.

    A side that tells no id is older than ids are: it goes on as before.
    """
    return not belongs or not fleet or belongs == fleet or belongs in succeeds


def why_not(belongs: str, fleet: str) -> str:
    """In words, for whoever is refused."""
    return f"the host belongs to fleet {short(belongs)}, the controller to fleet {short(fleet)}"


def lawful(fleet: str) -> bool:
    """True for what can be an id: a UUID as we write it."""
    return ID.fullmatch(fleet) is not None


def short(fleet: str) -> str:
    """For people."""
    return fleet[:SHOWN]
