"""What a controller shows to Prometheus: the fleet as its mirror has it, and its own part in it. It changes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from segue import __version__
from segue.adapters.certificates import Expiries
from segue.controller import fleet
from segue.controller.app import Controller
from segue.controller.folder import Folder
from segue.errors import Refused
from segue.model.crash import Cause
from segue.model.guest import RunState
from segue.model.lifecycle import ENDS, Stage
from segue.model.metrics import Sample
from segue.model.task import TaskKind

RUN_STATES: Final = tuple(state.value for state in RunState)
STAGES: Final = tuple(stage.value for stage in Stage if stage not in ENDS)


class View:
    """One controller, seen by Prometheus."""

    def __init__(self, controller: Controller, folder: Folder) -> None:
        self._controller = controller
        self._folder = folder
        self._expiries = Expiries()

    def look(self) -> Iterator[Sample]:
        """All gauges as they are now."""
        yield Sample("segue_build_info", 1, (__version__,))
        for name, path in (("own", self._folder.pair.certificate), ("ca", self._folder.ca)):
            if (ends_s := self._expiries.of(path)) is not None:
                yield Sample("segue_certificate_expires_timestamp_seconds", ends_s, (name,))
        yield from self._lead()
        yield from self._hosts()
        yield from self._guests()
        yield from self._tasks()
        causes = Counter(one.cause for one in self._controller.mirror.incidents.values() if one.is_open)
        for cause in Cause:
            yield Sample("segue_fleet_incidents_open", causes[cause], (cause.value,))

    def _lead(self) -> Iterator[Sample]:
        controller, leader = self._controller, self._controller.mirror.leader.get("")
        yield Sample("segue_leader", float(leads(controller)))
        yield Sample("segue_leader_epoch", leader.value.epoch if leader else 0)
        yield Sample("segue_store_revision", controller.mirror.revision)
        ages = controller.links.silences_s()
        yield Sample("segue_agents_connected", len(ages))
        yield Sample("segue_hosts_foreign", len(controller.links.strangers.now()))
        for host, age_s in ages.items():
            yield Sample("segue_heartbeat_age_seconds", age_s, (host,))

    def _hosts(self) -> Iterator[Sample]:
        mirror = self._controller.mirror
        up = fleet.linked(mirror)
        for name in sorted({*mirror.hosts.items(), *mirror.reports.items()}):
            record = mirror.hosts.get(name)
            state = "up" if name in up else "away"
            if fleet.is_revoked(mirror, name):
                state = "removed"
            elif name in up and record is not None and record.value.cordoned:
                state = "cordoned"
            yield Sample("segue_host_state", 1, (name, state))
            lacking = self._controller.lacking.get(name, ())
            yield Sample("segue_reserve_lacking_vms", len(lacking), (name,))
            if state != "removed":
                yield Sample("segue_host_up", float(name in up), (name,))

    def _guests(self) -> Iterator[Sample]:
        mirror = self._controller.mirror
        states = Counter(guest.state for guest in fleet.owners(mirror).values())
        for state in RUN_STATES:
            yield Sample("segue_fleet_guests", states[state], (state,))
        stages = Counter(migration.stage.value for migration in fleet.under_way(mirror).values())
        for stage in STAGES:
            yield Sample("segue_fleet_migrations_running", stages[stage], (stage,))

    def _tasks(self) -> Iterator[Sample]:
        tasks = list(self._controller.mirror.tasks.values())
        for (kind, state), number in Counter((task.kind.value, task.state.value) for task in tasks).items():
            yield Sample("segue_tasks", number, (kind, state))
        audited = self._controller.mirror.drain_audit.get("")
        yield Sample("segue_undrainable", audited.value.failed if audited else 0)
        drains = [task for task in tasks if task.kind is TaskKind.DRAIN and not task.ended]
        yield Sample("segue_drain_remaining_vms", sum(max(0, d.total - len(d.moved)) for d in drains))
        yield Sample("segue_drain_staying_vms", sum(len(drain.staying) for drain in drains))


def leads(controller: Controller) -> bool:
    """True while it surely does."""
    try:
        controller.candidate.demand()
    except Refused:
        return False
    return True
