"""Many seeds, on all processors: each is played in a process that has nothing else to do."""

from __future__ import annotations

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from segue.sim import rehearsal, scenario

AT_ONCE: Final = 25
"""Seeds that one process plays before another takes the next."""


@dataclass(frozen=True)
class Verdict:
    """What came of one seed, small enough to be handed from process to process."""

    seed: int
    digest: str
    seconds: float
    steps: int
    wrong: tuple[str, ...] = ()
    migrations: dict[str, int] = field(default_factory=dict)
    """How many ended in which stage."""
    tasks: dict[str, int] = field(default_factory=dict)
    longest_blackout_s: float = 0.0

    @property
    def replay(self) -> str:
        """The command that shows it once more."""
        return f"segue rehearse --seed {self.seed} --log"


def play(seed: int) -> Verdict:
    """One seed."""
    result = rehearsal.play(scenario.drawn(seed))
    return Verdict(
        seed,
        result.digest,
        result.seconds,
        result.steps,
        tuple(map(str, result.wrong)),
        dict(Counter(str(migration.stage) for migration in result.migrations)),
        dict(Counter(str(task.state) for task in result.tasks)),
        max(result.blackouts_s.values(), default=0.0),
    )


def _play_some(seeds: range, prepare: Callable[[], None] | None) -> list[Verdict]:
    if prepare is not None:
        prepare()
    return [play(seed) for seed in seeds]


def verdicts(
    first: int, count: int, *, jobs: int = 0, prepare: Callable[[], None] | None = None
) -> Iterator[Verdict]:
    """Of the seeds from `first` on, in their order. `prepare`: what each process does before it plays."""
    seeds = range(first, first + count)
    parts = [seeds[at : at + AT_ONCE] for at in range(0, count, AT_ONCE)]
    if count <= AT_ONCE and prepare is None:
        yield from map(play, seeds)
        return
    forked = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs or os.cpu_count(), mp_context=forked) as pool:
        for part in pool.map(_play_some, parts, [prepare] * len(parts)):
            yield from part
