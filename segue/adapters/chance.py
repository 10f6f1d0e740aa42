"""Numbers that nobody can foresee; in a rehearsal they come from its seed. Never for keys or other secrets."""

from __future__ import annotations

import random
import uuid
from contextvars import ContextVar
from typing import Final

_REAL: Final = random.SystemRandom()
_given: ContextVar[random.Random] = ContextVar("chance", default=_REAL)


def give(source: random.Random) -> None:
    """From here on, in this context and in every task that it starts, chance is this."""
    _given.set(source)


def new_id() -> str:
    """A number for something new, never used before: a random UUID."""
    return str(uuid.UUID(int=_given.get().getrandbits(128), version=4))


def between(least: float, most: float) -> float:
    """Anything between the two."""
    return _given.get().uniform(least, most)


def token(hex_chars: int) -> str:
    """So many hexadecimal digits, to tell things apart."""
    return f"{_given.get().getrandbits(4 * hex_chars):0{hex_chars}x}"
