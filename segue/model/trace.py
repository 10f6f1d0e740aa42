"""Where a migration stands in a trace, and what is told of it: ids as W3C Trace Context has them. It sends nothing."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

HEADER: Final = "traceparent"
SHAPE: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""Version 00; a newer one begins with another number, and is taken for no context at all."""
SAMPLED: Final = 1


@dataclass(frozen=True)
class Trace:
    """All empty: there is none. `span`: of whatever bears this; `parent`: the span of whoever asked for it."""

    id: str = ""
    span: str = ""
    parent: str = ""
    sampled: bool = True

    @property
    def header(self) -> str:
        """The `traceparent` for whatever is done on behalf of this span; empty where there is no trace."""
        return f"00-{self.id}-{self.span}-{int(self.sampled):02x}" if self.id else ""

    def child(self, what: str) -> str:
        """The id of a span below this one, the same whenever it is asked for: a restarted agent has no other."""
        return hashlib.blake2b(f"{self.id} {self.span} {what}".encode(), digest_size=8).hexdigest()


def parse(header: str) -> Trace:
    """What a caller said of itself; an empty one for anything that is not well-formed."""
    found = SHAPE.fullmatch(header.strip())
    if found is None or not int(found[1], 16) or not int(found[2], 16):
        return Trace()
    return Trace(found[1], found[2], sampled=bool(int(found[3], 16) & SAMPLED))


def below(header: str, new_trace: str, new_span: str) -> Trace:
    """A new span, below the caller's where there is one. The two ids are random, 32 and 16 digits."""
    caller = parse(header)
    if not caller.id:
        return Trace(new_trace, new_span)
    return Trace(caller.id, new_span, caller.span, caller.sampled)


@dataclass(frozen=True)
class Span:
    """Something that took time, in wall-clock seconds. `fault`: why it did not go well; empty where it did."""

    name: str
    id: str
    parent: str
    began_s: float
    ended_s: float
    attributes: tuple[tuple[str, str | int | float], ...] = ()
    events: tuple[tuple[str, float], ...] = ()
    """(what, when)."""
    fault: str = ""


@dataclass(frozen=True)
class Mark:
    """One line of a saga's log, with the time at which it was written; 0: by an agent that did not note it."""

    mark: str
    step: str
    at_s: float


@dataclass(frozen=True)
class Arriving:
    """A guest that comes in, as the target's agent keeps it until its spans are told."""

    trace: Trace
    guest: str
    uuid: str
    migration: str
    source: str
    began_s: float
    placed_s: float = 0.0
    marks: tuple[tuple[str, float], ...] = ()
    """From the grant that was heard until the guest ran."""
