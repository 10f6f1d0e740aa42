"""Sees to the connections of a copy of a guest's memory: that they are made, and that a copy can be ended before its
time, and another begun.

Four traps of QEMU 10.0, all about connections that are still being made:
- The first TLS handshake holds QEMU's big lock until the other side answers: on a dead path the guest stands.
- A copy that ends meanwhile may wait for ever (multifd.c: a thread whose handshake fails says that it is through
  before it says that it failed, and the copy then waits for what nobody sends; our lab, on one processor: 1 of 223).
- Neither `yank` nor `migrate_cancel` reaches them. On a dead path the copy waits for them as long as TCP does.
- One that outlives its copy makes QEMU refuse the next.

So they are given their time, and then they are ended from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from segue.adapters.net import connections
from segue.adapters.qemu import leftover, postcopy
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.monitor import QemuRefused
from segue.errors import Aborted

log = structlog.get_logger()

ACTIVE: Final = frozenset({"setup", "active", "pre-switchover", "device", "cancelling"})
SETUP_S: Final = 3.0
"""QEMU makes its connections in some milliseconds, unless the path or the target is dead."""
PROMPT_S: Final = 0.5
"""So long a copy may take to hear that it is over."""
LOOK_S: Final = 0.005


async def set_up(machine: Machine) -> bool:
    """Returns when the copy's connections are made. False where nobody answered: then they are ended."""
    try:
        await _within(SETUP_S, lambda: _is_not(machine, {"setup"}))
    except TimeoutError:
        return _hang_up(machine) == 0
    return True


def _hang_up(machine: Machine) -> int:
    if ended := connections.hang_up(machine.pid):
        log.warning("nobody answers a copy's connections", guest=machine.guest.name, connections=ended)
    return ended


async def end(machine: Machine, within_s: float) -> str:
    """QEMU's word for how it ended. Safe to repeat. Raises TimeoutError, QemuRefused, QemuGone."""
    if not await _ends_at_a_word(machine):
        await _yank(machine)
        if await postcopy.status(machine) in ACTIVE:
            await _cancel(machine, within_s)
    status = await postcopy.status(machine)
    # One that has gone over to post-copy ends with its QEMU, see revival.py.
    if status in {"failed", "cancelled"}:
        await _hanging_up(machine, lambda: leftover.is_forgotten(machine.monitor), within_s)
        await leftover.clear(machine)
    return status


async def _ends_at_a_word(machine: Machine) -> bool:
    try:
        async with asyncio.timeout(PROMPT_S):
            if await postcopy.status(machine) not in ACTIVE:
                return False
            await machine.monitor.execute("migrate_cancel")
            await _within(PROMPT_S, lambda: _is_not(machine, ACTIVE))
    except (TimeoutError, QemuRefused):
        return False
    return True


async def _yank(machine: Machine) -> None:
    """A cut link leaves QEMU writing into a full socket, deaf on its monitor until TCP gives up minutes later; this is
    heard out of band and closes the sockets.

    Only where a copy does not end at a word: of a copy that goes well, a channel that breaks first can leave the others
    silent for whom QEMU then waits, with its dirty bitmap locked; and its next look at that stops all of it.
    """
    try:
        await machine.monitor.execute("yank", oob=True, instances=[{"type": "migration"}])
    except QemuRefused:
        log.debug("no copy was under way", guest=machine.guest.name)


async def _cancel(machine: Machine, within_s: float) -> None:
    try:
        await machine.monitor.execute("migrate_cancel", within_s=within_s)
    except QemuRefused:
        if await postcopy.status(machine) not in postcopy.SWITCHED:
            raise
    await _hanging_up(machine, lambda: _is_not(machine, ACTIVE), within_s)


async def _hanging_up(machine: Machine, met: Callable[[], Awaitable[bool]], within_s: float) -> None:
    try:
        await _within(PROMPT_S, met)
    except TimeoutError:
        _hang_up(machine)
        await _within(within_s, met)


async def _is_not(machine: Machine, statuses: set[str] | frozenset[str]) -> bool:
    return await postcopy.status(machine) not in statuses


async def _within(seconds: float, met: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(seconds):
        while not await met():
            await asyncio.sleep(LOOK_S)


def unanswered(guest: str, address: str) -> Aborted:
    """For a copy whose connections could not be made."""
    return Aborted(
        what=f"the memory of {guest} cannot be copied",
        why=f"nobody answered within {SETUP_S:.0f} s at {address}, where the target takes it in",
        todo="Look at the path between the two hosts and its firewalls (docs/reference/ports.md), then try again.",
    )


def stuck(guest: str) -> Aborted:
    """For who would begin another copy of a guest whose last one has not come to its end."""
    return Aborted(
        what=f"the memory of {guest} cannot be copied",
        why="an earlier copy of it was cancelled, and its QEMU has not come to the end of it",
        todo="Try again in a minute. A QEMU that stays so has to be replaced: stop the guest and start it again.",
    )
