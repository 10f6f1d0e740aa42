"""Checkers that find nothing have only shown something if they find these mistakes."""

from __future__ import annotations

import pytest

from segue.sim import rehearsal, scenario
from tests.sim.mistakes import MISTAKES

SEEDS_MOST = 250
FOUND_LATE = {
    "a balance does not say why a guest stays",
    "a guest that was given to a host that died is missed by nobody",
    "a host grants itself its lease",
    "a maintenance does not say why a host failed",
    "a new leader leaves a drain alone",
    "a source speaks to its dead target for ever",
    "a target keeps a token that it cannot use",
    "an order to a BMC is taken for its deed",
    "copies that nobody needs are kept",
    "guests of a dead host are left where they were",
    "nobody stands for leader",
}
"""Only one seed in many shows them, or one that is long."""
CHOSEN = [pytest.param(name, marks=pytest.mark.slow if name in FOUND_LATE else ()) for name in MISTAKES]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", CHOSEN)
def test_seeds_find_the_mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = MISTAKES[name]
    mistake.make(monkeypatch)
    for seed in range(mistake.after, mistake.after + SEEDS_MOST):
        found = rehearsal.play(scenario.drawn(seed)).wrong
        if any(wrong.promise in mistake.breaks for wrong in found):
            print(f"\n{name}: seed {seed}: {found[0]}")
            return
    raise AssertionError(f"{SEEDS_MOST} seeds found nothing wrong where {name}")
