"""The record of one host or guest error: what broke, what shows it, who was hit, and what was done. Only nouns."""

from __future__ import annotations

from dataclasses import dataclass, replace

from segue.model.crash import Cause
from segue.model.fencing import Proof


@dataclass(frozen=True)
class Evidence:
    """What was seen, as it was seen. source: where, in words that lead a person there."""

    source: str
    text: str


@dataclass(frozen=True)
class Hit:
    """A guest that was hit. began_s, back_s: wall clock; back_s is 0 while it is away, and where it never came back.

    runs: it was not away at all, as far as its host can tell.
    """

    guest: str
    uuid: str
    began_s: float
    back_s: float = 0.0
    runs: bool = False

    @property
    def away_s(self) -> float:
        """From the crash until its vCPUs ran again; 0 where that is not known or not yet."""
        return max(0.0, self.back_s - self.began_s) if self.back_s else 0.0


@dataclass(frozen=True)
class Step:
    """Something that was done, or decided not to be done."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Incident:
    """One error, from its begin until the guests that it hit are back or are somebody else's business."""

    id: str
    host: str
    cause: Cause
    at_s: float
    text: str
    hits: tuple[Hit, ...]
    evidence: tuple[Evidence, ...] = ()
    done: tuple[Step, ...] = ()
    due_s: float = 0.0
    """When the restart is due; 0: none is."""
    elsewhere_s: float = 0.0
    """From when on another host may start it; 0: none is to. When `due_s` has come it is started here after all."""
    ended_s: float = 0.0
    """0: open."""
    tried_s: tuple[float, ...] = ()
    """When restarts were tried."""
    proof: Proof | None = None
    """Of a host that was lost: why it was certain that its guests ran no more."""

    @property
    def is_open(self) -> bool:
        """Something is still to be done, or to be waited for."""
        return not self.ended_s

    def with_step(self, at_s: float, text: str) -> Incident:
        """One more thing that was done."""
        return replace(self, done=(*self.done, Step(at_s, text)))


@dataclass(frozen=True)
class Told:
    """An incident as its host tells it on. number: grows with every change of any incident there."""

    number: int
    incident: Incident
