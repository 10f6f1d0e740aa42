"""The handoff under everything that can happen to it, and the proof that the explorer would notice a mistake.

`SEGUE_EXPLORE_DEPTH=2` (some minutes) and `=3` (about ten, 1 GB) raise the budgets; `pytest -s` shows the
numbers and, for every deliberate mistake, the shortest way to its harm.
"""

from __future__ import annotations

import os
from typing import Final

import pytest

from tests.policy import broken
from tests.policy.explorer import Exploration, doomed, explore, fair_run, stuck, way_to
from tests.policy.worlds import Budget, Rules

DEPTH: Final = int(os.environ.get("SEGUE_EXPLORE_DEPTH", "1"))
FAIR_RUNS: Final = 50

# By depth: the number of hosts, and what may go wrong with them. The second migration leads back, on, or to
# the same target once more, with all letters of the first still in the network.
SEARCHES: Final[dict[int, list[tuple[int, Budget]]]] = {
    0: [
        (3, Budget(migrations=2)),
        (2, Budget(crashes=1, deaths=1, outages=1, refusals=1, migrations=1)),
        (2, Budget(crashes=1, lapses=1, refusals=1, migrations=1)),
        (3, Budget(lapses=1, migrations=1)),
        (2, Budget(crashes=1, deaths=1, refusals=1, migrations=0, cold=2)),
        (2, Budget(deaths=1, outages=1, migrations=0, cold=1)),
        (2, Budget(deaths=2, migrations=1, cold=1)),
        (3, Budget(outages=3, migrations=0)),
    ],
    1: [
        (2, Budget(migrations=3)),
        (2, Budget(crashes=1, deaths=1, refusals=1, migrations=2)),
        (2, Budget(outages=1, migrations=2)),
        (3, Budget(crashes=1, outages=1, refusals=1, migrations=1)),
        (3, Budget(outages=2, lapses=1, migrations=0)),
        (3, Budget(deaths=1, outages=1, migrations=0, cold=1)),
        (3, Budget(deaths=1, lapses=1, migrations=0, cold=1)),
    ],
    2: [
        (2, Budget(crashes=1, deaths=2, outages=1, refusals=1, migrations=1, cold=1)),
        (2, Budget(crashes=1, deaths=1, lapses=1, migrations=0, cold=1)),
        (3, Budget(crashes=1, deaths=1, outages=1, migrations=0, cold=1)),
        (3, Budget(crashes=1, deaths=1, lapses=1, refusals=1, migrations=0, cold=1)),
        (3, Budget(deaths=1, outages=2, migrations=0, cold=1)),
        (2, Budget(outages=1, lapses=1, migrations=1)),
        (2, Budget(lapses=2, migrations=1)),
        (3, Budget(crashes=1, lapses=1, refusals=1, migrations=1)),
        (2, Budget(crashes=2, deaths=2, outages=1, refusals=2, migrations=1)),
        (2, Budget(crashes=1, deaths=1, outages=1, migrations=2)),
        (2, Budget(outages=1, refusals=1, migrations=2)),
        (2, Budget(outages=2, migrations=2)),
        (3, Budget(crashes=1, deaths=1, outages=1, refusals=1, migrations=1)),
        (3, Budget(crashes=1, refusals=1, migrations=2)),
        (3, Budget(outages=1, migrations=2)),
        (3, Budget(crashes=1, outages=2, migrations=1)),
    ],
    3: [
        (2, Budget(crashes=2, deaths=1, outages=1, migrations=2)),
        (2, Budget(crashes=1, outages=2, migrations=2)),
        (3, Budget(crashes=1, deaths=1, outages=2, migrations=1)),
        (3, Budget(deaths=1, outages=1, migrations=2)),
    ],
}
CHOSEN: Final = [
    pytest.param(*search, marks=pytest.mark.slow if depth else ())
    for depth in sorted(SEARCHES)
    if depth <= DEPTH
    for search in SEARCHES[depth]
]
FOUND_LATE: Final = {"a takeover just takes the next epoch", "the decider overlooks a grant on its way"}
MISTAKES: Final = [
    pytest.param(name, marks=pytest.mark.slow if name in FOUND_LATE else ()) for name in broken.MISTAKES
]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("hosts", "budget"), CHOSEN)
def test_never_two_and_never_none(hosts: int, budget: Budget) -> None:
    seen = explore(budget, hosts=hosts)
    print(f"\n{seen.summary()}")
    assert not seen.trace, "\n".join(seen.trace)
    for hopeless in (doomed(seen), stuck(seen)):
        assert not hopeless, _shown(seen, hopeless)
    numbers = range(0, len(seen.worlds), max(1, len(seen.worlds) // FAIR_RUNS))
    assert all(fair_run(seen, number) >= 0 for number in numbers)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_outages_leave_doubt_at_most_until_the_other_host_returns() -> None:
    """A decider without a record stays safe if a rebooted host waits for its peer; the wait is the price."""
    budget = Budget(crashes=1, outages=2)
    with_record = explore(budget)
    assert not with_record.trace, "\n".join(with_record.trace)
    assert not doomed(with_record)
    assert not stuck(with_record)
    without = explore(budget, Rules(remembers=False, starts_on_the_record=False))
    assert not without.trace, "\n".join(without.trace)
    assert not doomed(without)
    assert stuck(without)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MISTAKES)
def test_the_explorer_finds_every_mistake(name: str) -> None:
    mistake = broken.MISTAKES[name]
    trace = broken.counterexample(mistake)
    print(f"\n{name}:", *trace, sep="\n  ")
    assert trace, f"nothing found wrong where {name}"
    assert trace[-1] == f"BROKEN: {mistake.breaks}"


def _shown(seen: Exploration, hopeless: list[int]) -> str:
    world = seen.worlds[hopeless[0]]
    return "\n".join(
        [f"{len(hopeless)} worlds without a way out, as:", *way_to(seen, hopeless[0]), str(world)]
    )
