"""The tables keep Prometheus' conventions, so that rules and dashboards can be written without looking each up."""

from __future__ import annotations

import itertools
import re

import pytest

from segue.model.metrics import AGENT, CONTROLLER, Metric, Sort

EVERY = {metric.name: metric for metric in (*AGENT, *CONTROLLER)}
BASE_UNITS = ("_seconds", "_bytes", "_bytes_per_second", "_ratio", "_info")
COUNTS = (
    "segue_migration_round", "segue_migration_rounds", "segue_guests", "segue_guest_down", "segue_host_cpus",
    "segue_agent_leader_epoch", "segue_agent_peers", "segue_doctor_findings", "segue_leader", "segue_leader_epoch",
    "segue_agents_connected", "segue_host_up", "segue_host_state", "segue_fleet_guests", "segue_tasks",
    "segue_drain_remaining_vms", "segue_drain_staying_vms", "segue_store_revision", "segue_migrations_running",
    "segue_fleet_migrations_running", "segue_incidents_open", "segue_fleet_incidents_open",
    "segue_reserve_lacking_vms", "segue_hosts_foreign", "segue_undrainable", "segue_agent_foreign_controllers",
)  # fmt: skip
"""Numbers of things, epochs, yes or no: they have no unit."""


@pytest.mark.parametrize("metric", EVERY.values(), ids=lambda metric: metric.name)
def test_a_name_says_what_it_is(metric: Metric) -> None:
    assert re.fullmatch(r"segue_[a-z_]+", metric.name)
    assert metric.help.endswith(".")
    assert metric.name.endswith("_total") == (metric.sort is Sort.COUNTER)
    assert metric.sort is Sort.COUNTER or metric.name in COUNTS or metric.name.endswith(BASE_UNITS)
    assert bool(metric.bounds) == (metric.sort is Sort.HISTOGRAM)
    assert list(metric.bounds) == sorted(set(metric.bounds))


@pytest.mark.parametrize("table", [AGENT, CONTROLLER], ids=["agent", "controller"])
def test_each_name_stands_once(table: tuple[Metric, ...]) -> None:
    assert len({metric.name for metric in table}) == len(table)


def test_what_is_booked_for_ever_has_no_guest_in_it() -> None:
    for metric in EVERY.values():
        if metric.sort is not Sort.GAUGE:
            assert not {"vm", "host", "task"} & set(metric.labels), metric.name


def test_blackouts_of_a_millisecond_and_of_ten_seconds_are_told_apart() -> None:
    bounds = EVERY["segue_migration_blackout_seconds"].bounds
    assert (bounds[0], bounds[-1]) == (0.001, 10.0)
    assert all(high / low <= 2.5 for low, high in itertools.pairwise(bounds))
