"""What is booked of a migration is what its record says, once, and under labels of which there are few."""

from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from segue.adapters.metrics import Meter
from segue.agent.figures import Figures
from segue.engine.saga import CANCELLED
from segue.model.lifecycle import Stage
from segue.model.metrics import AGENT
from segue.model.migration import Failure, Forecast, Limits, Migration, Outcome, Progress
from segue.model.observation import Gap, Observation

FORESEEN = Forecast(4.0, 3.0, 5.0, 0.02, 0.01, 0.03, 1 << 28, 1e6, 1e8, True, "measured")
MEASURED = Outcome(
    blackout_s=0.03, stopped_at_s=100.0, resumed_at_s=100.03, preparation_s=3.0, post_blackout_s=1.2, total_s=5.0,
    rounds=7, transferred_bytes=3_000_000, slowdown_max=0.2, brownout_s=0.5, frames_steered=41, frames_rescued=2,
)  # fmt: skip
DONE = Migration(
    "m1", "web1", "host1", "host2", Limits(), 95.0,
    stage=Stage.DONE, ended_s=101.3, blackout_at_s=99.9, forecast=FORESEEN, outcome=MEASURED,
)  # fmt: skip


class Page:
    """What Prometheus would read."""

    def __init__(self, figures: Figures) -> None:
        text = figures.meter.text("")[0].decode()
        families = list(text_string_to_metric_families(text))
        self._samples = {
            (s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples
        }

    def value(self, name: str, **labels: str) -> float:
        return self._samples[name, tuple(sorted(labels.items()))]

    def series(self, name: str) -> int:
        return sum(known == name for known, _ in self._samples)


def booked(*migrations: Migration) -> Page:
    figures = Figures(Meter(AGENT))
    for migration in migrations:
        figures.ended(migration)
    return Page(figures)


def test_a_migration_that_is_done_is_booked_once_in_each_figure() -> None:
    page = booked(DONE)
    assert page.value("segue_migrations_total", kind="vm", result="done", reason="") == 1
    assert page.value("segue_migration_blackout_seconds_sum") == 0.03
    assert page.value("segue_migration_blackout_seconds_bucket", le="0.05") == 1
    assert page.value("segue_migration_blackout_seconds_bucket", le="0.025") == 0
    assert page.value("segue_migration_duration_seconds_sum", phase="total") == 5.0
    assert page.value("segue_migration_duration_seconds_sum", phase="preparation") == 3.0
    assert page.value("segue_migration_bytes_total", channel="memory", dir="out") == 3_000_000
    assert page.value("segue_forwarded_packets_total") == 41
    assert page.value("segue_migration_brownout_seconds_total") == 0.5
    assert page.value("segue_migration_forecast_ratio_sum", figure="blackout") == pytest.approx(1.5)
    assert page.value("segue_migration_forecast_ratio_sum", figure="total") == pytest.approx(1.25)


def failed(what: str, **fields: object) -> Migration:
    failure = Failure("aborted", what, "why", "todo")
    return replace(DONE, stage=Stage.ABORTED, failure=failure, outcome=Outcome(), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("migration", "result", "reason"),
    [
        (failed(CANCELLED), "aborted", "cancelled"),
        (failed("web1 was not moved", blackout_at_s=0.0), "aborted", "preparation"),
        (failed("web1 was not moved"), "aborted", "blackout"),
        (replace(DONE, stage=Stage.LOST), "lost", "guest_ended"),
    ],
)
def test_why_a_migration_was_not_done(migration: Migration, result: str, reason: str) -> None:
    untouched = booked()
    page = booked(migration)
    assert page.value("segue_migrations_total", kind="vm", result=result, reason=reason) == 1
    assert page.value("segue_migrations_total", kind="vm", result="done", reason="") == 0
    assert page.value("segue_migration_blackout_seconds_count") == 0
    assert page.series("segue_migrations_total") == untouched.series("segue_migrations_total"), "a new series"


def test_what_went_over_in_vain_is_booked_too() -> None:
    half = failed("web1 was not moved", progress=Progress(transferred_bytes=5000))
    assert booked(half).value("segue_migration_bytes_total", channel="memory", dir="out") == 5000


def test_what_is_not_known_is_not_booked_as_nothing() -> None:
    restarted = replace(DONE, outcome=replace(MEASURED, blackout_s=0.0))
    page = booked(restarted)
    assert page.value("segue_migration_blackout_seconds_count") == 0
    assert page.value("segue_migration_duration_seconds_count", phase="total") == 1


def test_each_probe_gives_one_sample() -> None:
    figures = Figures(Meter(AGENT))
    gaps = (Gap(99.99, 100.13),)
    seen = Observation("udp", "10.0.0.1:7000", 90, 110, lost=2, failed=1, longest_gap_s=0.14, gaps=gaps)
    figures.observed(seen, 0.14)
    figures.observed(replace(seen, probe="whatever a caller writes"), 0.3)
    page = Page(figures)
    assert page.value("segue_migration_outage_seconds_sum", probe="udp") == 0.14
    assert page.value("segue_probe_losses_total", probe="udp") == 3
    assert page.value("segue_migration_outage_seconds_count", probe="other") == 1
