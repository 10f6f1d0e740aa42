"""The record: which gap of a probe counts as the outage of a migration."""

from __future__ import annotations

from segue.model.lifecycle import Event, Stage
from segue.model.migration import Limits, Migration, Outcome, after, observed
from segue.model.observation import Gap, Observation

MOVED = Migration(
    "m", "web1", "a", "b", Limits(), 0.0, outcome=Outcome(stopped_at_s=100.0, resumed_at_s=100.02)
)


def seen(*gaps: tuple[float, float]) -> Observation:
    longest = max(end - start for start, end in gaps)
    return Observation("udp", "x", 90.0, 110.0, longest_gap_s=longest, gaps=tuple(Gap(*gap) for gap in gaps))


def test_the_outage_is_the_gap_around_the_blackout() -> None:
    assert observed(MOVED, seen((95.0, 95.9), (99.99, 100.1))).outcome.outage_s == 100.1 - 99.99


def test_the_longest_outage_of_all_clients_counts() -> None:
    first = observed(MOVED, seen((99.9, 100.2)))
    both = observed(first, seen((99.99, 100.1)))
    assert both.outcome.outage_s == 100.2 - 99.9
    assert len(both.observations) == 2


def test_the_times_of_each_change_are_kept() -> None:
    record = after(after(MOVED, Event.CONVERGED, 1.0), Event.HANDED_OFF, 2.0)
    ended = after(record, Event.SETTLED, 3.0)
    assert (ended.blackout_at_s, ended.settling_at_s, ended.ended_s) == (1.0, 2.0, 3.0)
    assert ended.stage is Stage.DONE
    assert ended.ended
