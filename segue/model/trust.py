"""Certificates as people see them, and who is barred though his certificate holds. It knows no file and no key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

BARS_MOST: Final = 1000
"""All of them are one entry of the store, and one frame to each agent."""


@dataclass(frozen=True)
class Certificate:
    """How long it holds. `problem`: why it could not be renewed; empty while nothing is wrong."""

    begins_s: float
    ends_s: float
    problem: str = ""


@dataclass(frozen=True)
class Bar:
    """Somebody who is refused: `who` is ROLE:NAME, or the number of a certificate in hex."""

    who: str
    since_s: float
    by: str
    why: str = ""
    ends_s: float = 0.0
    """When the certificate ends by itself, and with it the need of this line; 0: never."""


@dataclass(frozen=True)
class Barred:
    """All bars. `number` only grows, so that an old list never takes the place of a newer one."""

    number: int = 0
    bars: tuple[Bar, ...] = ()

    def find(self, role: str, name: str, serial: str = "") -> Bar | None:
        """The bar that shuts this caller out."""
        keys = {f"{role}:{name}", serial.upper()}
        return next((bar for bar in self.bars if bar.who in keys), None)


@dataclass(frozen=True)
class Follower:
    """A person's certificate that followed another one: under `followers/SERIAL`. Who bars the first bars it, too."""

    serial: str
    after: str
    who: str
    ends_s: float


@dataclass(frozen=True)
class SignedBarred:
    """The list as JSON, and the CA's signature of it in base64: agents keep it, and may give it back to a controller
    that has lost its store, without anybody having to believe them."""

    text: str
    signature: str
