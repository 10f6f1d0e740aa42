"""What must be so of tasks and lost hosts once faults are over: by store and hosts, never by a program's word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from segue.model.fencing import Death
from segue.model.incident import Incident
from segue.model.task import Task, TaskKind, TaskState
from segue.sim import checkers as checking

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
