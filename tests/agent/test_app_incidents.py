"""An application that fails is an incident of its own kind, and stays one until it runs again or somebody stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from segue.adapters.metrics import Meter
from segue.adapters.oci.places import AppPlaces
from segue.adapters.qemu.command import Places
from segue.adapters.store.journal import Journal
from segue.agent import crashes
from segue.agent.crashes import Crashes
from segue.agent.figures import Figures
from segue.agent.notices import Notices
from segue.agent.senses import HostSenses
from segue.model import guest as guests
from segue.model import metrics
from segue.model.application import Application, Restart
from segue.model.crash import AppEnd, Cause

APP = Application(image="sha256:0", reference="redis", args=("redis-server",), restart=Restart.ALWAYS)
CACHE = guests.application("cache1", "uuid1", 64 << 20, APP, ())


@pytest.fixture
def known(tmp_path: Path) -> Iterator[tuple[Crashes, Journal]]:
    journal = Journal(tmp_path / "journal.db", "boot1")
    places = AppPlaces("cache1", tmp_path / "run", tmp_path / "apps")
    places.logs.mkdir(parents=True)
    (places.logs / "current").write_text("2026-11-26T17:00:00Z stderr F out of ideas\n")
    senses = HostSenses(lambda _: Places(tmp_path), lambda _: places, tmp_path / "kmsg")
    yield Crashes("host1", journal, Notices(), Figures(Meter(metrics.AGENT)), senses), journal
    journal.close()


def test_its_end_is_written_down_with_what_it_said_last(known: tuple[Crashes, Journal]) -> None:
    here, journal = known
    asyncio.run(here.begin_app(CACHE, AppEnd("status 3", 1000.0, 2.0)))
    (incident,) = journal.incidents.all()
    assert (incident.cause, incident.at_s, incident.is_open) == (Cause.APP_ENDED, 1000.0, True)
    assert incident.text == "cache1: it ended without success (status 3)"
    assert incident.due_s > 1000.0
    assert "started again after 2 s" in incident.done[-1].text
    assert any("out of ideas" in seen.text for seen in incident.evidence)


def test_one_that_fails_again_and_again_is_one_incident_that_does_not_grow(
    known: tuple[Crashes, Journal],
) -> None:
    here, journal = known
    for number in range(100):
        asyncio.run(here.begin_app(CACHE, AppEnd("by SIGKILL", 1000.0 + number, 1.0)))
    (incident,) = journal.incidents.all()
    assert sum("ended again" in step.text for step in incident.done) > 10
    assert len(incident.done) <= crashes.STEPS_MOST + 1


def test_one_that_is_not_started_again_is_left_to_a_person(known: tuple[Crashes, Journal]) -> None:
    here, journal = known
    asyncio.run(here.begin_app(CACHE, AppEnd("status 1", 1000.0, None)))
    (incident,) = journal.incidents.all()
    assert incident.due_s == 0
    assert "left to a person" in incident.done[-1].text
