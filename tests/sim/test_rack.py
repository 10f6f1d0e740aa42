"""Hosts that fall silent together do so within one beat of each other: whoever is lost first is not lost alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from segue.cli import story_file
from segue.sim import rehearsal
from segue.sim.faults import Fault, FaultKind


@pytest.mark.parametrize("cut_s", [12.0, 13.1, 13.5])
def test_a_rack_that_is_away_is_left_alone_whatever_its_last_beats_were(cut_s: float) -> None:
    story = story_file.load("a-rack-is-away")
    away = next(fault for fault in story.faults if fault.kind is FaultKind.SPLIT)
    # An agent that was started later than the others beats between theirs.
    late = Fault(3.0, FaultKind.KILL_AGENT, "host2", for_s=1.0)
    told = rehearsal.play(replace(story, faults=(late, replace(away, at_s=cut_s)))).lines
    assert not [line for line in told if "FENCED" in line]
    assert any("2 of 6 hosts are lost at once" in line for line in told)
