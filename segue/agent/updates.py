"""Gives a running guest the installed QEMU: in place where QEMU can, on another host where the operator allows that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from segue.adapters import chance, clock
from segue.adapters.qemu import capabilities, in_place, queues
from segue.adapters.qemu.monitor import QemuRefused
from segue.agent.app import Agent
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import Kind, Refused, SegueError
from segue.model.integrity import Verify
from segue.model.migration import Limits, Migration
from segue.policy import compatibility, update, wishes
from segue.policy.update import Running
from segue.wire.frames import UpdateGuest

log = structlog.get_logger()
LOOK_S: Final = 2.0
LOOK_AGAIN_S: Final = 20.0


async def begin(agent: Agent, keeper: Keeper, wish: UpdateGuest, traceparent: str) -> Migration:
    """Checks all, then starts; returns at once with the record. Raises Refused, and then nothing has changed."""
    guest = agent.migrations.beforehand.demand_movable(keeper)
    if keeper.machine is None:
        raise _not_begun(
            guest.name, "it is an application, which runs in no QEMU", "Update virtual machines."
        )
    if wrong := wishes.wrong(wish.limits):
        raise _not_begun(guest.name, "; ".join(wrong), "Ask for other limits.")
    await look_at_installed(agent.services)
    running = await _running(keeper)
    if not running.is_outdated and not wish.again:
        raise _is_newest(guest.name, running.version)
    reasons = await _obstacles(agent, keeper, running)
    if not reasons:
        return await _begin_here(agent, keeper, wish.limits, traceparent)
    if not wish.or_migrate:
        raise _cannot(guest.name, agent.services.config.name, reasons)
    log.info("not updated in place", guest=guest.name, why="; ".join(reasons), to=wish.or_migrate)
    try:
        return await agent.migrations.begin(keeper, wish.or_migrate, wish.limits, traceparent=traceparent)
    except Refused as error:
        raise _neither(guest.name, reasons, wish.or_migrate, error) from error


async def keep(agent: Agent) -> None:
    """For as long as the agent lives: what the host says of its QEMU is what is installed."""
    failed: tuple[int, ...] = ()
    pause_s = LOOK_S
    while True:
        await asyncio.sleep(pause_s)
        if agent.migrations.standing():
            continue  # It would take the processor from a guest that waits to go on.
        try:
            await look_at_installed(agent.services)
            pause_s = LOOK_S
        except (SegueError, QemuRefused, OSError) as error:
            # A package is just being installed, or cannot be used: what was known is still true of what runs.
            if (seen := capabilities.fingerprint()) != failed:
                log.warning("the installed QEMU cannot be asked", why=str(error))
            failed, pause_s = seen, LOOK_AGAIN_S


async def look_at_installed(services: Services) -> None:
    """What the installed QEMU can do, if it is another one than when that was asked last."""
    if capabilities.fingerprint() != services.capabilities.fingerprint:
        services.capabilities = await capabilities.ask(services.config.run_dir, services.config.qemu_user)
        log.info("another QEMU is installed", version=services.capabilities.version)


async def _running(keeper: Keeper) -> Running:
    machine = keeper.machine
    assert machine is not None
    outdated = in_place.is_outdated(machine)
    old = compatibility.version(machine.version) < update.QEMU_OLDEST
    return Running(machine.version, outdated, unfit="" if old else await in_place.why_not(machine))


async def _obstacles(agent: Agent, keeper: Keeper, running: Running) -> tuple[str, ...]:
    machine, facts = keeper.machine, agent.guests.facts()
    assert machine is not None
    found = update.obstacles(keeper.guest_here(), running, facts)
    return found + compatibility.queue_obstacles(await queues.entries(machine.monitor), facts)


async def _begin_here(agent: Agent, keeper: Keeper, limits: Limits, traceparent: str) -> Migration:
    services, guest, here = agent.services, keeper.guest_here(), agent.services.config.name
    with agent.migrations.starting(guest):
        migration = Migration(
            id=chance.new_id(),
            guest=guest.name,
            source=here,
            target=here,
            # One memory cannot be compared with itself: that both QEMUs have the same is checked before.
            limits=replace(limits, verify=Verify.OFF, storage_postcopy=False, post_copy_after=-1),
            started_s=clock.wall_s(),
            forecast=update.forecast(services.journal.migrations(), guest.memory_bytes),
            trace=services.traces.begin(traceparent),
        )
        agent.migrations.start(keeper, migration)
        return migration


def _is_newest(name: str, version: str) -> Refused:
    return Refused(
        what=f"{name} is not updated",
        why=f"it runs in the QEMU {version} that is installed",
        todo="Install another QEMU first, or give it a new process of the same one with --again.",
        kind=Kind.CONFLICT,
    )


def _neither(name: str, reasons: tuple[str, ...], to: str, error: Refused) -> Refused:
    return Refused(
        what=f"{name} can neither get another QEMU here while it runs nor go to {to}",
        why=f"{'; '.join(reasons)}; {to}: {error.why}",
        todo=error.todo,
        kind=error.kind,
    )


def _not_begun(name: str, why: str, todo: str) -> Refused:
    return Refused(what=f"{name} is not updated", why=why, todo=todo, kind=Kind.POLICY)


def _cannot(name: str, here: str, reasons: tuple[str, ...]) -> Refused:
    return Refused(
        what=f"{name} cannot get another QEMU on {here} while it runs",
        why="; ".join(reasons),
        todo="Move it to another host with --or-migrate HOST, or stop it and start it again.",
        kind=Kind.POLICY,
    )
