"""A crash when nothing else goes wrong: what must become of it is certain then. It looks at hosts and store alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from segue.controller import elsewhere
from segue.model.crash import Deed
from segue.model.handoff import Phase
from segue.model.incident import Incident
from segue.model.task import TaskState
from segue.sim import checkers as checking

if TYPE_CHECKING:
    from segue.sim.controllers import ControlRoom
    from segue.sim.host import SimHost
    from segue.sim.qemu import Qemu
    from segue.sim.world import World

BACK_S: Final = 90.0
"""Agents wait for a controller's word for 30 s, and what cannot be given away is given back."""
LOOK_S: Final = 1.0


async def in_calm(world: World, room: ControlRoom, unsettled: Callable[[], list[str]]) -> None:
    """One guest whose policy is to be started elsewhere; nobody asks for anything."""
    chosen = _chosen(world)
    if chosen is None or unsettled():
        return
    host, qemu = chosen
    guest, known = qemu.guest, {task.id for task in room.tasks()}
    before = len(_incidents(room, guest.name))
    world.say("world", f"FAULT the QEMU of {guest.name} is killed, and all else is well")
    host.lose(qemu)
    until_s = world.loop.time() + BACK_S
    while world.loop.time() < until_s and not (_runs_on(world, guest.uuid) and not unsettled()):
        await asyncio.sleep(LOOK_S)
    where = _runs_on(world, guest.uuid)
    if where is None:
        if not _left(_incidents(room, guest.name)[before:]):
            world.broken(checking.CRASH, f"{guest.name} crashed on {host.name}, and does not come back")
        return
    world.say("world", f"{guest.name} runs on {where.name} again")
    asked = [t for t in room.tasks() if t.by == elsewhere.BY and t.id not in known]
    given_up = any(task.ended and task.state is not TaskState.DONE and task.note for task in asked)
    left = _left(_incidents(room, guest.name)[before:])
    if where is host and not given_up and not left:
        world.broken(checking.CRASH, f"{guest.name} was started on {host.name} again, and nobody says why")


def _chosen(world: World) -> tuple[SimHost, Qemu] | None:
    for uuid in sorted(world.latest):
        for host in world.hosts.values():
            qemu = host.qemus.get(uuid)
            wanted = qemu is not None and qemu.guest.on_crash.qemu is Deed.ELSEWHERE
            if qemu is not None and wanted and qemu.running and host.owns(uuid):
                return host, qemu
    return None


def _runs_on(world: World, uuid: str) -> SimHost | None:
    for host in world.hosts.values():
        qemu = host.qemus.get(uuid)
        if qemu is not None and qemu.running and host.journal.token(uuid).phase is Phase.OWNER:
            return host
    return None


def _incidents(room: ControlRoom, name: str) -> list[Incident]:
    found = [one for one in room.kept("incidents/", Incident) if one.hits and one.hits[0].guest == name]
    return sorted(found, key=lambda one: one.at_s)


def _left(incidents: list[Incident]) -> bool:
    """It crashed too often within the hour, and it is said that it is left."""
    return any(not one.elsewhere_s and one.done for one in incidents)
