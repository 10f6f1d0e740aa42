"""A host that has the guest and cannot be asked: it must not be taken for one without power, nor be overlooked when it
is back in the middle of a takeover."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from segue.cli import story_file
from segue.controller import off
from segue.controller.app import Controller
from segue.sim import checkers, rehearsal
from segue.sim.faults import Fault, FaultKind

STORY = "no-controller-hears-of-the-handoff"


def test_the_story_finds_a_leader_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dark(controller: Controller, hosts: Iterable[str]) -> set[str]:
        return {host for host in hosts if host not in controller.links.linked()}

    monkeypatch.setattr(off, "dark", dark)
    found = rehearsal.play(story_file.load(STORY)).wrong
    assert checkers.TWO in {wrong.promise for wrong in found}


@pytest.mark.parametrize("away_s", [5.0, 5.2, 6.6, 7.0, 7.2, 7.4, 7.8, 30.0])
def test_whoever_has_it_loses_its_power_too_and_is_back_at_any_moment_of_the_takeover(away_s: float) -> None:
    story = story_file.load(STORY)
    target = Fault(15.5, FaultKind.CUT_POWER, "host2", for_s=away_s)
    played = rehearsal.play(replace(story, faults=(*story.faults, target)))
    assert not played.wrong, "\n".join(played.lines)
