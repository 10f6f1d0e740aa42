"""The agent's record of incidents survives the agent, tells changes in order, and forgets only what is over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from segue.adapters.store import incidents
from segue.adapters.store.journal import Journal
from segue.model.crash import Cause
from segue.model.incident import Evidence, Hit, Incident


def incident(number: int, ended_s: float = 0.0) -> Incident:
    hit = Hit("web1", "5a3f", float(number))
    seen = (Evidence("QEMU's process", "it was ended by signal 9 (SIGKILL)"),)
    return Incident(
        str(number), "host1", Cause.QEMU_ENDED, float(number), "ended", (hit,), seen, ended_s=ended_s
    )


def test_it_survives_the_agent(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.db", "boot")
    journal.incidents.put(incident(1))
    journal.incidents.put(incident(2, ended_s=9.0))
    journal.close()
    again = Journal(tmp_path / "journal.db", "boot").incidents
    assert again.open() == [incident(1)]
    assert again.all() == [incident(2, ended_s=9.0), incident(1)]


def test_a_change_is_told_after_all_that_was_told_before(tmp_path: Path) -> None:
    notes = Journal(tmp_path / "journal.db", "boot").incidents
    notes.put(incident(1))
    notes.put(incident(2))
    first = notes.after(0, 100)
    assert [told.incident.id for told in first] == ["1", "2"]
    notes.put(replace(incident(1), ended_s=9.0))
    changed = notes.after(first[-1].number, 100)
    assert [told.incident for told in changed] == [replace(incident(1), ended_s=9.0)]
    assert len(notes.after(0, 1)) == 1


def test_old_ones_are_forgotten_and_open_ones_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incidents, "KEEP", 2)
    notes = Journal(tmp_path / "journal.db", "boot").incidents
    notes.put(incident(1))
    for number in (2, 3, 4):
        notes.put(incident(number, ended_s=9.0))
    assert [one.id for one in notes.all()] == ["4", "3", "1"]
