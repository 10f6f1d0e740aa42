"""Walks breadth first through every world that a fault budget allows, and shows the way to a broken promise.

Three things are checked. In every world: never two, never stale, epochs never fall (`worlds.judged`). From
every world, with every letter that is under way lost for good and all faults at an end: a settled world can
be reached by what is still said and done (`doomed`), so no schedule that gives each letter and tick its turn
runs into a trap. And the same while hosts stay off (`stuck`): then the decider's word to the others ends
the doubt, or the host that is off is itself the owner.
"""

from __future__ import annotations

import gc
import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from segue.policy.handoff import Copy, Token
from tests.policy.worlds import (
    MAY_RUN,
    NAMES,
    Budget,
    Kind,
    Model,
    Move,
    Rules,
    Violation,
    World,
    first_world,
    judged,
    settled,
)

CALM = (Kind.PLAIN, Kind.POWER_ON)


@dataclass
class Exploration:
    """What one search has seen; worlds are known by the number in which they were found."""

    model: Model
    numbers: dict[World, int] = field(default_factory=dict)
    worlds: list[World] = field(default_factory=list)
    found_from: array[int] = field(default_factory=lambda: array("l"))
    moves: int = 0
    depth: int = 0
    trace: list[str] = field(default_factory=list)  # empty, or the way to the first broken promise

    def summary(self) -> str:
        first = self.worlds[0]
        left = " ".join(f"{name} {count}" for name, count in first.left._asdict().items())
        seen = f"{len(self.worlds)} states, {self.moves} moves, depth {self.depth}"
        return f"{len(first.hosts)} hosts, {left}: {seen}"


def explore(budget: Budget, rules: Rules | None = None, hosts: int = 2) -> Exploration:
    """Search until every world within the budget is seen, or a promise is broken."""
    seen = Exploration(Model(rules or Rules()))
    _add(seen, first_world(budget, hosts), -1)
    level = [0]
    with _collector_off():
        while level and not seen.trace:
            level = [new for number in level for new in _visit(seen, number)]
            seen.depth += bool(level)
    return seen


def doomed(seen: Exploration) -> list[int]:
    """Worlds from which nobody can bring the guest to run, although nothing fails any more."""
    roots = dict.fromkeys(_silenced(world) for world in seen.worlds)
    hopeless = _hopeless(seen.model, roots, CALM, settled)
    return [number for number, world in enumerate(seen.worlds) if hopeless and _silenced(world) in hopeless]


def stuck(seen: Exploration) -> list[int]:
    """Worlds with hosts that stay off, and others, in which neither the agents nor the decider can end the doubt."""
    some_off = [
        number for number, world in enumerate(seen.worlds) if len({host.on for host in world.hosts}) == 2
    ]
    roots = dict.fromkeys(_silenced(seen.worlds[number]) for number in some_off)
    hopeless = _hopeless(seen.model, roots, (Kind.PLAIN,), decided_without_the_dead)
    return [number for number in some_off if hopeless and _silenced(seen.worlds[number]) in hopeless]


def decided_without_the_dead(world: World) -> bool:
    """The guest runs, or its owner is a host that is off: then it starts again when that host returns."""
    if any(host.memory.kind is Copy.RUNNING and not host.todo for host in world.hosts):
        return True
    owners = [host for host in world.hosts if host.token.phase in MAY_RUN]
    last = max(owners, key=lambda host: host.token.epoch, default=None)
    return last is not None and not last.on


def fair_run(seen: Exploration, number: int, limit: int = 5_000) -> int:
    """Moves that a run with random turns takes to settle after all letters were lost; -1 if it does not."""
    world, turns = _silenced(seen.worlds[number]), random.Random(number)
    for count in range(limit):
        if settled(world):
            return count
        world = turns.choice([move for move in seen.model.moves(world) if move.kind in CALM]).world
    return -1


def way_to(seen: Exploration, number: int) -> list[str]:
    """The moves from the first world to this one, found again by asking the model."""
    steps: list[str] = []
    while (source := seen.found_from[number]) >= 0:
        target = seen.worlds[number]
        steps.append(next(say(m) for m in seen.model.moves(seen.worlds[source]) if judged(m) == target))
        number = source
    return steps[::-1]


def say(move: Move) -> str:
    return " ".join((NAMES[move.who], *filter(None, map(_say_part, move.what))))


def _say_part(part: object) -> str:
    if isinstance(part, Token):
        return f"-> {part.phase}({part.epoch}) in its journal"
    return str(part)


def _visit(seen: Exploration, number: int) -> Iterator[int]:
    """Make every move of one world; the numbers of the worlds that are new."""
    if seen.trace:
        return
    for move in seen.model.moves(seen.worlds[number]):
        try:
            world = judged(move)
        except Violation as violation:
            seen.trace = [*way_to(seen, number), say(move), f"BROKEN: {violation}"]
            return
        seen.moves += 1
        if _add(seen, world, number):
            yield len(seen.worlds) - 1


def _add(seen: Exploration, world: World, found_from: int) -> bool:
    new = seen.numbers.setdefault(world, len(seen.worlds)) == len(seen.worlds)
    if new:
        seen.worlds.append(world)
        seen.found_from.append(found_from)
    return new


def _silenced(world: World) -> World:
    """The same hosts with an empty network and no budget; what is decided from here on is all that helps."""
    return World(world.hosts, Budget(migrations=0), decided=world.decided)


def _hopeless(
    model: Model, roots: Iterable[World], kinds: tuple[Kind, ...], goal: Callable[[World], bool]
) -> set[World]:
    """The silenced worlds that cannot reach a goal by moves of these kinds."""
    good: set[World] = set()
    return {root for root in roots if not _reaches(model, root, kinds, goal, good)}


def _reaches(
    model: Model,
    root: World,
    kinds: tuple[Kind, ...],
    goal: Callable[[World], bool],
    good: set[World],
) -> bool:
    """Breadth first to a goal, or to a world that is good even when all its letters are lost once more."""
    level, met = [root], {root}
    while level:
        if any(goal(world) or _silenced(world) in good for world in level):
            good.add(root)
            return True
        moves = (move for world in level for move in model.moves(world) if move.kind in kinds)
        level = list({move.world for move in moves} - met)
        met.update(level)
    return False


@contextmanager
def _collector_off() -> Iterator[None]:
    """Millions of small tuples without a cycle: the cycle collector would only walk them again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
