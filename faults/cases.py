"""Which fault hits whom, and when: a seed says all of it, so that a case can be played again. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Final

from segue.engine import migrate

DISKS: Final = ("local qcow2", "local raw", "shared qcow2")
SAGA: Final = (*migrate.LIVE.prepare, migrate.LIVE.handoff, *migrate.LIVE.settle)
STEPS: Final = tuple(step.name for step in SAGA)
APPLICATION: Final = "application"
"""In place of a kind of disk: the guest is processes in a container."""
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
APP_EVERY: Final = 4
"""The last of so many seeds is a case of an application."""
CRIUS: Final = ("source criu", "target criu")
PORTERS: Final = ("source porter", "target porter")
"""They carry files and memory."""
APP_PROCESSES: Final = (*CRIUS, *PORTERS, "source agent", "target agent")
APP_HITS: Final = (
    *(("kill", victim) for victim in APP_PROCESSES),
    *(("freeze", victim) for victim in APP_PROCESSES),
    ("kill", "target warden"),
    *(("cut", way) for way in WAYS),
    ("fill", "target disk"),
)
HELD: Final = (("source", "restored there"), ("source", "before released"), *TOKENS[2:])
"""Where both CRIUs wait for their word."""
AT_WORK: Final = "at its work"
"""In place of a failpoint: as soon as it is there, and `delay_s` more. CRIU needs less than half a second."""
WORK_S: Final = 0.4
MEMORY: Final = "memory"
DISKS_TOO: Final = "disks"
FOLLOWS: Final = ("", "", MEMORY, DISKS_TOO, f"{DISKS_TOO} and {MEMORY}")
"""What of a machine may come after it."""
PULLED: Final = "local qcow2"
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
    follows: str = ""
    """What of the guest comes after it: one of FOLLOWS."""

    @property
    def limits(self) -> dict[str, object]:
        """What the migration is asked for, beside the ordinary."""
        wish: dict[str, object] = {"post_copy_after": 0} if MEMORY in self.follows else {}
        return wish | ({"storage_postcopy": True} if DISKS_TOO in self.follows else {})

    def __str__(self) -> str:
        when = f"{self.side} {self.place}" if self.place else f"after {self.delay_s:.1f} s"
        if self.place == AT_WORK:
            when = f"{self.delay_s:.2f} s after its begin"
        lasts = {0.0: "", UNTIL_END: ", until the end"}.get(self.hold_s, f", for {self.hold_s:.1f} s")
        after = f", {self.follows} after it" if self.follows else ""
        return f"{self.disk}{after}: {self.fault} {self.victim}, {when}{lasts}"


def of_seed(seed: int) -> Case:
    """The same seed is the same case for ever, as long as the saga has the same steps."""
    dice = random.Random(seed)
    if seed % APP_EVERY == APP_EVERY - 1:
        return _of_application(seed, dice)
    fault, victim = dice.choice(HITS)
    disk = dice.choice(DISKS[:2] if needs_local(fault, victim) else DISKS)
    follows = _what_follows(seed, disk, fault, victim)
    hold_s = 0.0
    if fault != "kill":
        # Whoever is frozen until the end might never let it come.
        hold_s = dice.choice(HOLDS_S if fault == "freeze" else (*HOLDS_S, UNTIL_END))
    if dice.random() < 0.25:
        delay_s = round(dice.uniform(0.1, DELAY_MAX_S), 1)
        return Case(seed, disk, fault, victim, delay_s=delay_s, hold_s=hold_s, follows=follows)
    side, place = dice.choice(places(victim))
    return Case(seed, disk, fault, victim, side, place, hold_s=hold_s, follows=follows)


def _what_follows(seed: int, disk: str, fault: str, victim: str) -> str:
    """Of dice of its own: the same seed had the same fault before there was a choice. Disks that are pulled leave no
    daemon on the target, and only qcow2 can be."""
    follows = random.Random(f"{seed} follows").choice(FOLLOWS)
    pulled = disk == PULLED and not needs_local(fault, victim)
    if pulled:
        return follows
    return MEMORY if MEMORY in follows else ""


def _of_application(seed: int, dice: random.Random) -> Case:
    fault, victim = dice.choice(APP_HITS)
    hold_s = 0.0
    if fault != "kill":
        hold_s = dice.choice(HOLDS_S if fault == "freeze" else (*HOLDS_S, UNTIL_END))
    case = Case(seed, APPLICATION, fault, victim, hold_s=hold_s)
    if victim in CRIUS and dice.random() < 0.5:
        return replace(case, side=victim.split()[0], place=AT_WORK, delay_s=round(dice.uniform(0, WORK_S), 2))
    if victim not in {*CRIUS, *PORTERS, "target warden"} and dice.random() < 0.25:
        return replace(case, delay_s=round(dice.uniform(0.1, DELAY_MAX_S), 1))
    side, place = dice.choice(app_places(victim))
    return replace(case, side=side, place=place)


def app_places(victim: str) -> list[tuple[str, str]]:
    """(side, failpoint) at which that part of an application's move is there."""
    if victim in CRIUS:
        return [*((("source", "dumped"),) if victim == CRIUS[0] else ()), *HELD]
    if victim == "target warden":
        return list(HELD)
    if victim in PORTERS:
        return [("source", "done copy memory"), ("source", "begun hand off"), ("source", "dumped"), *HELD]
    steps = [("source", f"{mark} {step}") for step in STEPS for mark in ("begun", "done")]
    return [*steps, ("source", "dumped"), ("source", "restored there"), *TOKENS]


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
