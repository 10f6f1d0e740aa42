"""What must be so of tasks and lost hosts once faults are over: by store and hosts, never by a program's word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from segue.controller import health
from segue.model.fencing import Death
from segue.model.incident import Incident
from segue.model.maintenance import HostState, HostWork
from segue.model.task import Task, TaskKind, TaskState
from segue.sim import checkers as checking
from segue.sim import levelling

if TYPE_CHECKING:
    from segue.sim.controllers import ControlRoom
    from segue.sim.world import World


def unsettled(room: ControlRoom) -> list[str]:
    """What is still under way."""
    found = [f"task {task.kind} is {task.state}" for task in room.tasks() if not task.ended]
    room.shelf.end_due()
    if room.leader() is None:
        found.append("nobody leads")
    if len(room.shelf.leases) > 1:
        found.append(f"{len(room.shelf.leases)} leases in the store")
    return found


def away(world: World, room: ControlRoom) -> list[str]:
    """Guests of hosts that are dead for good that are on no other host, and of which nothing is said."""
    dead = [host for host in world.hosts.values() if host.is_dead]
    if not dead:
        return []
    said = " ".join(_said(room))
    found = []
    for uuid, name in world.checkers.unowned().items():
        holders = [host.name for host in dead if host.journal.token(uuid).phase != "absent"]
        if (
            uuid not in world.idle
            and name not in said
            and not any(f"{host} is lost" in said for host in holders)
        ):
            found.append(f"{name} was on {', '.join(holders)}, which is dead")
    return found


def _said(room: ControlRoom) -> Iterator[str]:
    """All that people can read of what is lost: a host that is held, and guests that wait."""
    open_ = {death.incident: death for death in room.kept("deaths/", Death)}
    for incident in room.kept("incidents/", Incident):
        if (death := open_.get(incident.id)) is None:
            continue
        yield from (step.text for step in incident.done)
        if death.why and death.proof is None:
            yield f"{death.host} is lost: {death.why}"


def at_end(world: World, room: ControlRoom) -> None:
    """Every task has ended, with its reason where not all was done; none was lost."""
    tasks = {task.id: task for task in room.tasks()}
    for number in room.asked:
        if number not in tasks:
            world.broken(checking.DRAIN, f"task {number} was taken and is not known any more")
    for why in unsettled(room):
        world.broken(checking.DRAIN if "task" in why else checking.LEFT, why)
    for task in tasks.values():
        if task.kind is TaskKind.DRAIN:
            _check_drain(world, task)
        if task.kind is TaskKind.MAINTENANCE:
            _check_upkeep(world, room, task)
    _check_alarms(world, room)
    levelling.check(world, tasks.values())


def _check_upkeep(world: World, room: ControlRoom, task: Task) -> None:
    """What did not come to its end says why, and for each host."""
    name = str(task.wish["maintenance"])
    works = [kept for key, kept in room.entries("maintenance-hosts/", HostWork) if key.startswith(f"{name}/")]
    well = all(work.state in {HostState.DONE, HostState.SKIPPED} for work in works)
    if task.ended and task.state is not TaskState.CANCELLED and not well and not task.note:
        world.broken(checking.UPKEEP, f"the maintenance {name} is {task.state} and says no reason")
    for work in works:
        if task.ended and not work.over and work.state is not HostState.WAITING:
            world.broken(checking.UPKEEP, f"{work.host} is {work.state} in {name}, which has ended")
        if work.state in {HostState.FAILED, HostState.ABORTED} and not work.why:
            world.broken(checking.UPKEEP, f"{work.host} is {work.state} in {name} and says no reason")
        world.say("people", f"the maintenance of {work.host} is {work.state}: {work.why}")


def _check_alarms(world: World, room: ControlRoom) -> None:
    """However much sensors lie: never more hosts at once than were allowed are emptied for it."""
    alarms = [task for task in room.tasks() if task.by == health.BY]
    for task in alarms:
        others = [one for one in alarms if one.created_s <= task.created_s < (one.ended_s or math.inf)]
        if len(others) > room.evacuate:
            names = ", ".join(str(one.wish["hosts"][0]) for one in others)
            world.broken(checking.ALARM, f"{names} are emptied at once by themselves")


def _check_drain(world: World, task: Task) -> None:
    hosts = ", ".join(task.wish["hosts"])
    if task.state is TaskState.PARTIAL and not (task.staying and all(task.staying.values())):
        world.broken(checking.DRAIN, f"the drain of {hosts} is partial and says no reason")
    if task.state is TaskState.FAILED and task.failure is None:
        world.broken(checking.DRAIN, f"the drain of {hosts} failed and says no reason")
    if task.ended:
        world.say("people", f"the drain of {hosts} is {task.state}: {task.note}")
        for guest, why in sorted(task.staying.items()):
            world.say("people", f"  {guest} stays: {why}")
