"""Checkers that find nothing have only shown something if they find these mistakes."""

from __future__ import annotations

import pytest

from segue.sim import rehearsal, scenario
from tests.sim.mistakes import MISTAKES

SEEDS_MOST = 250


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", MISTAKES)
def test_seeds_find_the_mistake(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = MISTAKES[name]
    mistake.make(monkeypatch)
    for seed in range(mistake.after, mistake.after + SEEDS_MOST):
        found = rehearsal.play(scenario.drawn(seed)).wrong
        if any(wrong.promise in mistake.breaks for wrong in found):
            print(f"\n{name}: seed {seed}: {found[0]}")
            return
    raise AssertionError(f"{SEEDS_MOST} seeds found nothing wrong where {name}")
