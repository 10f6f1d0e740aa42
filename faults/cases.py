"""Which fault hits whom, and when: a seed says all of it, so that a case can be played again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from segue.engine import migrate

DISKS: Final = ("local qcow2", "local raw", "shared qcow2")
SAGA: Final = (*migrate.LIVE.prepare, migrate.LIVE.handoff, *migrate.LIVE.settle)
STEPS: Final = tuple(step.name for step in SAGA)
DAEMON: Final = "target storage daemon"
PROCESSES: Final = ("source qemu", "target qemu", "source agent", "target agent", DAEMON)
WAYS: Final = ("both ways", "to target", "to source")
HITS: Final = (
    *(("kill", victim) for victim in PROCESSES),
    *(("freeze", victim) for victim in PROCESSES),
    *(("cut", way) for way in WAYS),
    ("fill", "target disk"),
    ("starve", "target qemu"),
)
TOKENS: Final = (
    *(("source", f"{when} {phase}") for phase in ("offered", "released") for when in ("before", "after")),
    *(("target", place) for place in ("hears grant", "before owner", "after owner")),
)
"""Places of the handoff, where a fault does the most."""
ALIVE: Final = {"target qemu": ("reserve target", "retire source"), DAEMON: ("reserve storage", "hand off")}
"""The step that makes a process, and the last that it may see: earlier or later there is nothing to hit."""
UNTIL_END: Final = -1.0
HOLDS_S: Final = (0.5, 2.0, 6.0, 15.0)
"""Below and above what the engine waits for: `stall_s` 3 s, `blackout_s` 5 s here."""
DELAY_MAX_S: Final = 6.0
"""A migration without a fault takes about that long here."""


@dataclass(frozen=True)
class Case:
    """One try."""

    seed: int
    disk: str
    fault: str
    victim: str
    side: str = ""
    """Whose agent comes to `place`."""
    place: str = ""
    """The failpoint where it happens; empty: `delay_s` after the start."""
    delay_s: float = 0.0
    hold_s: float = 0.0
    """How long it lasts; UNTIL_END: until the migration has ended. A process that was killed stays so."""

    def __str__(self) -> str:
        when = f"{self.side} {self.place}" if self.place else f"after {self.delay_s:.1f} s"
        lasts = {0.0: "", UNTIL_END: ", until the end"}.get(self.hold_s, f", for {self.hold_s:.1f} s")
        return f"{self.disk}: {self.fault} {self.victim}, {when}{lasts}"


def of_seed(seed: int) -> Case:
    """The same seed is the same case for ever, as long as the saga has the same steps."""
    dice = random.Random(seed)
    fault, victim = dice.choice(HITS)
    disk = dice.choice(DISKS[:2] if needs_local(fault, victim) else DISKS)
    hold_s = 0.0
    if fault != "kill":
        # Whoever is frozen until the end might never let it come.
        hold_s = dice.choice(HOLDS_S if fault == "freeze" else (*HOLDS_S, UNTIL_END))
    if dice.random() < 0.25:
        delay_s = round(dice.uniform(0.1, DELAY_MAX_S), 1)
        return Case(seed, disk, fault, victim, delay_s=delay_s, hold_s=hold_s)
    side, place = dice.choice(places(victim))
    return Case(seed, disk, fault, victim, side, place, hold_s=hold_s)


def needs_local(fault: str, victim: str) -> bool:
    """Where no disk is copied there is no daemon and nothing to fill."""
    return fault == "fill" or victim == DAEMON


def places(victim: str) -> list[tuple[str, str]]:
    """(side, failpoint) at which that victim is there."""
    first, last = ALIVE.get(victim, (STEPS[0], STEPS[-1]))
    steps = STEPS[STEPS.index(first) : STEPS.index(last) + 1]
    found = [("source", f"{mark} {step}") for step in steps for mark in ("begun", "done")]
    if victim in ALIVE:
        found = found[1:]  # It begins to be while its step is under way.
    if victim == DAEMON:
        return found[:-1]  # It ends within the handoff.
    return [*found, *TOKENS]
