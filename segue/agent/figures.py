"""What this host measures for Prometheus: migrations are booked when they have ended, the rest is looked at when asked.

It must never be called in a blackout, and never hold one up: see `calm`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from segue import __version__
from segue.adapters import clock, spans, webhook
from segue.adapters.certificates import Expiries
from segue.adapters.metrics import Meter
from segue.engine.saga import CANCELLED
from segue.model.checkup import Level
from segue.model.crash import Cause, Deed
from segue.model.guest import RunState
from segue.model.lifecycle import ENDS, Stage
from segue.model.metrics import Sample
from segue.model.migration import Migration
from segue.model.observation import Observation

if TYPE_CHECKING:
    from segue.agent.app import Agent
    from segue.agent.doctor import Examined

KIND: Final = "vm"
CALM_S: Final = 2.0
"""Prometheus gives up after 10 s as it comes; a guest in doubt stands for longer than it could wait."""
LOOK_S: Final = 0.02
DOWN: Final = (RunState.PAUSED, RunState.CRASHED)
PROBES: Final = frozenset({"udp", "tcp", "http", "redis"})
RESULTS: Final = (
    (Stage.DONE, ""),
    (Stage.LOST, "guest_ended"),
    (Stage.ABORTED, "cancelled"),
    (Stage.ABORTED, Stage.PREPARATION),
    (Stage.ABORTED, Stage.BLACKOUT),
)
"""How a migration can end, and why."""


class Figures:
    """The agent's meter, and what is booked in it."""

    def __init__(self, meter: Meter) -> None:
        self.meter = meter
        self._examined: tuple[float, Examined] | None = None
        self._expiries = Expiries()
        for name, labels in _expected():
            meter.expect(name, *labels)

    # Booked

    def ended(self, migration: Migration) -> None:
        """Once for each migration that began here."""
        self.meter.count("segue_migrations_total", KIND, migration.stage, _reason(migration))
        outcome = migration.outcome
        sent_bytes = outcome.transferred_bytes or migration.progress.transferred_bytes
        self.meter.count("segue_migration_bytes_total", "memory", "out", by=sent_bytes)
        self.meter.count("segue_migration_bytes_total", "disk", "out", by=migration.disks.done_bytes)
        self.meter.count("segue_forwarded_packets_total", by=outcome.frames_steered)
        self.meter.count("segue_rescued_packets_total", by=outcome.frames_rescued)
        self.meter.count("segue_migration_brownout_seconds_total", by=max(0.0, outcome.brownout_s))
        if migration.stage is Stage.DONE:
            self._done(migration)

    def _done(self, migration: Migration) -> None:
        outcome, observe = migration.outcome, self.meter.observe
        phases = {
            Stage.PREPARATION: outcome.preparation_s,
            Stage.BLACKOUT: outcome.blackout_s,
            Stage.POST_BLACKOUT: outcome.post_blackout_s,
            "total": outcome.total_s,
        }
        for phase, seconds in phases.items():
            if seconds > 0:  # Zero: an agent was restarted meanwhile, and nobody knows.
                observe("segue_migration_duration_seconds", seconds, phase)
        if outcome.blackout_s > 0:
            observe("segue_migration_blackout_seconds", outcome.blackout_s)
        observe("segue_migration_rounds", outcome.rounds)
        observe("segue_migration_throttle_max_ratio", outcome.slowdown_max)
        for figure, ratio in _against_forecast(migration):
            observe("segue_migration_forecast_ratio", ratio, figure)

    def observed(self, observation: Observation, outage_s: float) -> None:
        """What one client's probe saw of a migration."""
        probe = observation.probe if observation.probe in PROBES else "other"
        self.meter.observe("segue_migration_outage_seconds", outage_s, probe)
        self.meter.count("segue_probe_losses_total", probe, by=observation.lost + observation.failed)

    def examined(self, found: Examined) -> None:
        """What `segue doctor` found."""
        self._examined = clock.wall_s(), found

    def crashed(self, cause: Cause, deed: Deed) -> None:
        """Once for each incident; the deed that was decided at first."""
        self.meter.count("segue_incidents_total", cause, deed)

    def returned(self, cause: Cause, away_s: float) -> None:
        """A guest that crashed runs again."""
        self.meter.observe("segue_guest_away_seconds", away_s, cause)

    def hooked(self, result: str) -> None:
        """What became of one message to the webhook."""
        self.meter.count("segue_incident_posts_total", result)

    def spans(self, result: str, number: int) -> None:
        """What became of so many spans; called from another thread."""
        self.meter.count("segue_trace_spans_total", result, by=number)

    # Looked at

    def look(self, agent: Agent) -> Iterator[Sample]:
        """All gauges as they are now."""
        yield Sample("segue_build_info", 1, (__version__,))
        yield from self._certificates(agent)
        yield from _migrations(agent.migrations.under_way())
        yield from _guests(agent)
        causes = Counter(incident.cause for incident in agent.services.crashes.open())
        for cause in Cause:
            yield Sample("segue_incidents_open", causes[cause], (cause.value,))
        facts = agent.guests.facts()
        yield Sample("segue_host_memory_bytes", facts.memory_total_bytes, ("total",))
        yield Sample("segue_host_memory_bytes", facts.memory_free_bytes, ("free",))
        yield Sample("segue_host_cpus", facts.cpus)
        yield Sample("segue_agent_leader_epoch", agent.services.journal.leader_epoch())
        yield Sample("segue_agent_foreign_controllers", len(agent.services.foreign))
        yield Sample("segue_agent_peers", len(agent.services.peers))
        yield from self._findings()

    def _certificates(self, agent: Agent) -> Iterator[Sample]:
        tls = agent.services.config.tls
        for name, path in (("own", tls.cert), ("ca", tls.ca)):
            ends_s = self._expiries.of(path)
            if ends_s is not None:
                yield Sample("segue_certificate_expires_timestamp_seconds", ends_s, (name,))

    def _findings(self) -> Iterator[Sample]:
        if self._examined is None:
            return
        at_s, found = self._examined
        yield Sample("segue_doctor_timestamp_seconds", at_s)
        levels = Counter(finding.level for finding in found.findings)
        for level in Level:
            yield Sample("segue_doctor_findings", levels[level], (level.value,))


async def calm(agent: Agent) -> None:
    """Returns when no guest that leaves or comes is in its blackout, or after a while: a page costs milliseconds."""
    until_s = clock.steady_s() + CALM_S
    while any(m.stage is Stage.BLACKOUT for m in agent.migrations.under_way()) or agent.guests.await_grant():
        if clock.steady_s() > until_s:
            return
        await asyncio.sleep(LOOK_S)


def _expected() -> Iterator[tuple[str, tuple[str, ...]]]:
    for result, reason in RESULTS:
        yield "segue_migrations_total", (KIND, result, reason)
    for phase in (Stage.PREPARATION, Stage.BLACKOUT, Stage.POST_BLACKOUT, "total"):
        yield "segue_migration_duration_seconds", (phase,)
    for channel in ("memory", "disk"):
        yield "segue_migration_bytes_total", (channel, "out")
    for figure in ("total", "blackout"):
        yield "segue_migration_forecast_ratio", (figure,)
    for cause in Cause:
        yield "segue_guest_away_seconds", (cause,)
        for deed in Deed:
            yield "segue_incidents_total", (cause, deed)
    for posted in webhook.RESULTS:
        yield "segue_incident_posts_total", (posted,)
    for sent in spans.RESULTS:
        yield "segue_trace_spans_total", (sent,)


def _reason(migration: Migration) -> str:
    if migration.stage is Stage.DONE:
        return ""
    if migration.stage is Stage.LOST:
        return "guest_ended"
    if migration.failure is not None and migration.failure.what == CANCELLED:
        return "cancelled"
    return Stage.BLACKOUT if migration.blackout_at_s else Stage.PREPARATION


def _against_forecast(migration: Migration) -> Iterator[tuple[str, float]]:
    foreseen, outcome = migration.forecast, migration.outcome
    if foreseen is None:
        return
    for figure, was_s, foreseen_s in (
        ("total", outcome.total_s, foreseen.total_s),
        ("blackout", outcome.blackout_s, foreseen.blackout_s),
    ):
        if was_s > 0 and foreseen_s > 0:
            yield figure, was_s / foreseen_s


def _migrations(under_way: list[Migration]) -> Iterator[Sample]:
    stages = Counter(migration.stage for migration in under_way)
    for stage in Stage:
        if stage not in ENDS:
            yield Sample("segue_migrations_running", stages[stage], (KIND, stage.value))
    for migration in under_way:
        vm, seen = (migration.guest,), migration.progress
        yield Sample("segue_migration_remaining_bytes", seen.remaining_bytes, vm)
        yield Sample("segue_migration_dirty_rate_bytes_per_second", seen.dirty_bytes_per_s, vm)
        yield Sample("segue_migration_throughput_bytes_per_second", seen.link_bytes_per_s, vm)
        yield Sample("segue_migration_throttle_ratio", seen.slowdown, vm)
        yield Sample("segue_migration_round", seen.round, vm)
        yield Sample("segue_migration_blackout_estimate_seconds", seen.blackout_estimate_s, vm)


def _guests(agent: Agent) -> Iterator[Sample]:
    shown = agent.guests.shown()
    states = Counter(guest.state for guest in shown)
    for state in RunState:
        yield Sample("segue_guests", states[state.value], (state.value,))
    for guest in shown:
        if guest.state in DOWN and guest.phase == "owner":
            yield Sample("segue_guest_down", 1, (guest.name, guest.state))
