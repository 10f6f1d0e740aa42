"""What agents and controllers measure for Prometheus, as one table each. It names; it must never count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Sort(StrEnum):
    """How a figure behaves, in Prometheus' words."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True)
class Metric:
    """One family. `bounds`: upper ends of a histogram's buckets."""

    name: str
    sort: Sort
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Sample:
    """What a gauge shows now; the labels' values in the order of the table."""

    name: str
    value: float
    labels: tuple[str, ...] = ()


def _counter(name: str, help: str, *labels: str) -> Metric:
    return Metric(name, Sort.COUNTER, help, labels)


def _gauge(name: str, help: str, *labels: str) -> Metric:
    return Metric(name, Sort.GAUGE, help, labels)


def _histogram(name: str, help: str, bounds: tuple[float, ...], *labels: str) -> Metric:
    return Metric(name, Sort.HISTOGRAM, help, labels, bounds)


PAUSES_S: Final = (
    0.001, 0.0025, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""From an idle guest's blackout to one that nobody would accept; 0.2 is where TCP sends again."""
TIMES_S: Final = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
ROUNDS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
SHARES: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9, 1.0)
RATIOS: Final = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.11, 1.25, 1.5, 2.0, 4.0, 10.0)
CALLS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

BOTH: Final = (
    _gauge("segue_build_info", "Always 1; the version is in the label.", "version"),
    _gauge(
        "segue_certificate_expires_timestamp_seconds",
        "When a certificate's time is over, in seconds since 1970. certificate: own or ca.",
        "certificate",
    ),
    _counter(
        "segue_trace_spans_total",
        "Spans of ended migrations. result: sent, failed (the collector did not take them), dropped (too many waited).",
        "result",
    ),
    _counter(
        "segue_incident_posts_total",
        "Messages to the webhook. result: sent, failed (it took none in six tries), dropped (too many waited).",
        "result",
    ),
)
AGENT: Final = (
    *BOTH,
    _counter(
        "segue_migrations_total",
        "Migrations from this host that have ended. result: done, aborted, lost. reason: empty where it is done, "
        "else cancelled, guest_ended, or the stage in which it failed.",
        "kind", "result", "reason",
    ),
    _gauge("segue_migrations_running", "Migrations from this host under way, by stage.", "kind", "phase"),
    _histogram(
        "segue_migration_blackout_seconds",
        "Blackouts of migrations that were done, measured on both hosts.",
        PAUSES_S,
    ),
    _histogram(
        "segue_migration_outage_seconds",
        "The longest time a client had no reply around a blackout, one sample for each probe that watched.",
        PAUSES_S,
        "probe",
    ),
    _histogram(
        "segue_migration_duration_seconds",
        "How long migrations that were done took. phase: a stage, or total.",
        TIMES_S,
        "phase",
    ),
    _counter(
        "segue_migration_bytes_total",
        "Bytes that left this host in migrations that have ended. channel: memory (with the devices' state), disk.",
        "channel", "dir",
    ),
    _histogram("segue_migration_rounds", "Rounds that the copy of memory took.", ROUNDS),
    _histogram(
        "segue_migration_throttle_max_ratio",
        "The most that the guest was throttled, as a share of 1; 0: not at all.",
        SHARES,
    ),
    _counter("segue_migration_brownout_seconds_total", "Processor time that throttles took from guests."),
    _histogram(
        "segue_migration_forecast_ratio",
        "What was measured, divided by what was foreseen. figure: total or blackout.",
        RATIOS,
        "figure",
    ),
    _counter("segue_forwarded_packets_total", "Frames sent after guests that left, held ones with them."),
    _counter("segue_rescued_packets_total", "Of them those that the guest had not taken."),
    _counter("segue_probe_losses_total", "Packets and requests that probes lost or saw fail.", "probe"),
    _gauge("segue_migration_remaining_bytes", "Memory still to be sent, while it is copied.", "vm"),
    _gauge("segue_migration_dirty_rate_bytes_per_second", "What the guest writes, while it is copied.", "vm"),
    _gauge("segue_migration_throughput_bytes_per_second", "How fast memory is sent, while it is copied.", "vm"),
    _gauge("segue_migration_throttle_ratio", "By how much the guest is throttled now, as a share of 1.", "vm"),
    _gauge("segue_migration_round", "The round that the copy of memory is in.", "vm"),
    _gauge("segue_migration_blackout_estimate_seconds", "The pause if the guest were stopped now.", "vm"),
    _gauge("segue_guests", "Guests that have something on this host, by state.", "state"),
    _gauge("segue_guest_down", "1 for each guest that stands or crashed; it should run.", "vm", "state"),
    _counter(
        "segue_incidents_total",
        "Guests of this host that crashed or hung. deed: what was decided at first, restart, elsewhere or leave.",
        "cause", "deed",
    ),
    _gauge("segue_incidents_open", "Incidents of this host that are not over.", "cause"),
    _histogram("segue_guest_away_seconds", "From a crash until the guest's vCPUs ran again.", TIMES_S, "cause"),
    _gauge("segue_host_memory_bytes", "The host's memory. kind: total, free (guests may still get it).", "kind"),
    _gauge("segue_host_cpus", "The host's processors."),
    _gauge("segue_agent_leader_epoch", "The highest epoch of a leader that this agent has obeyed; 0: none."),
    _gauge("segue_agent_foreign_controllers", "Controllers in agent.toml that are another fleet's; none is obeyed."),
    _gauge("segue_agent_peers", "Other hosts that this agent knows."),
    _gauge(
        "segue_doctor_findings",
        "Findings of the last `segue doctor` on this host, by level; absent until there was one.",
        "level",
    ),
    _gauge("segue_doctor_timestamp_seconds", "When that was, in seconds since 1970."),
)  # fmt: skip
CONTROLLER: Final = (
    *BOTH,
    _gauge("segue_leader", "1 while this controller leads, else 0."),
    _gauge("segue_leader_epoch", "The epoch of whoever leads, as the store has it; it grows with each leader."),
    _gauge("segue_agents_connected", "Agents connected to this controller; 0 where it does not lead."),
    _gauge("segue_hosts_foreign", "Hosts that came here in the last minute and belong to another fleet."),
    _gauge("segue_host_up", "1 while the host's agent is connected to the leader, else 0.", "host"),
    _gauge("segue_host_state", "1 for the state of each host: up, cordoned, away, removed.", "host", "state"),
    _gauge(
        "segue_heartbeat_age_seconds",
        "Since each agent that is connected here was last heard; they speak every 2 s.",
        "host",
    ),
    _gauge("segue_fleet_guests", "Guests of the fleet, each as its owner has it, by state.", "state"),
    _gauge("segue_fleet_migrations_running", "Migrations under way in the fleet, by stage.", "phase"),
    _gauge("segue_fleet_incidents_open", "Incidents of all hosts that are not over.", "cause"),
    _gauge(
        "segue_reserve_lacking_vms",
        "Guests that would find no place if their host died now; the leader knows.",
        "host",
    ),
    _gauge("segue_undrainable", "Hosts and failure domains that could not be emptied when the leader last asked."),
    _gauge("segue_tasks", "Tasks that the store has, by kind and state; ended ones with them.", "kind", "state"),
    _gauge("segue_drain_remaining_vms", "Guests that drains under way have still to move."),
    _gauge("segue_drain_staying_vms", "Guests for which drains under way found no place."),
    _histogram(
        "segue_store_op_seconds",
        "Calls of the store that were answered. op: get, list, commit, lease, keep_alive, revoke.",
        CALLS_S,
        "op", "backend",
    ),
    _counter(
        "segue_store_errors_total",
        "Calls of the store that failed. error: away, unknown, conflict, fenced, other.",
        "op", "backend", "error",
    ),
    _histogram(
        "segue_store_event_lag_seconds",
        "From a commit's answer until this controller's watch shows it.",
        CALLS_S,
        "backend",
    ),
    _gauge("segue_store_revision", "How far this controller's watch of the store has come."),
)  # fmt: skip


def page(table: tuple[Metric, ...]) -> str:
    """The table in Markdown, for docs/reference/metrics.md."""
    lines = ["| name | sort | labels | what it is |", "|---|---|---|---|"]
    for metric in table:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.sort} | {labels} | {metric.help} |")
    return "\n".join(lines)
