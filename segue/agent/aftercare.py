"""What the target does for a guest that has just come to run here, beside all else: its clock is put forward."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from segue.adapters import clock
from segue.adapters.qemu import guest_agent
from segue.adapters.qemu.guest_agent import AgentRefused, NoGuestAgent, Reading, Talk
from segue.adapters.qemu.machine import Machine
from segue.agent.boards import Boards
from segue.model.guest_clock import ClockStep
from segue.model.handoff import Phase
from segue.model.notice import Arrival, Care
from segue.policy import guest_clock

if TYPE_CHECKING:
    from segue.agent.keeper import Keeper

log = structlog.get_logger()

OPENS_WITHIN_S = 0.5
"""The guest's end of the channel is open again this soon after it resumed, if it ever was: its device is loaded so."""
LOOK_S = 0.1
TALK_S = 10.0
"""A busy guest under emulation takes seconds for what another does in milliseconds."""
READINGS = 5
STEPS = 3


class Caretaker:
    """Looks after each guest that arrived, once for each migration."""

    def __init__(self, boards: Boards) -> None:
        self._boards = boards
        self._tasks: dict[str, tuple[str, asyncio.Task[ClockStep]]] = {}

    def begin(self, keeper: Keeper, arrival: Arrival) -> None:
        """Tells the guest, and sets its clock beside all else. A word that comes twice is done once."""
        token, machine = keeper.token, keeper.machine
        if (token.phase, token.migration) != (Phase.OWNER, arrival.migration) or machine is None:
            return
        if self._boards.of(keeper.uuid).cared == arrival.migration:
            return
        # Written before it is done: the clock must never be put forward twice.
        self._boards.put(keeper.uuid, replace(arrival.board, cared=arrival.migration))
        task = asyncio.create_task(set_clock(machine, arrival.blackout_s), name=f"clock of {keeper.uuid}")
        self._tasks[keeper.uuid] = (arrival.migration, task)

    async def ended(self, uuid: str, migration: str, within_s: float) -> Care:
        """What became of it; `done` is false when it still goes on after `within_s`."""
        found, task = self._tasks.get(uuid, ("", None))
        if task is None or found != migration:
            return Care(clock=ClockStep(note="nothing is known of it: the target's agent was restarted"))
        await asyncio.wait([task], timeout=within_s)
        if not task.done():
            return Care(done=False, clock=ClockStep(note="qemu-guest-agent has not answered yet"))
        return Care(clock=task.result())


async def set_clock(machine: Machine, stood_s: float) -> ClockStep:
    """Best effort, and never an error: the guest's clock goes forward by as long as the guest stood."""
    if stood_s <= 0:
        return ClockStep(note="the blackout was not measured")
    if not await _opens(machine):
        return ClockStep(lag_s=stood_s, note="the guest runs no qemu-guest-agent")
    try:
        return await _step(machine.places.guest_agent, stood_s)
    except (NoGuestAgent, AgentRefused) as error:
        return ClockStep(lag_s=stood_s, note=f"qemu-guest-agent: {error}")


async def _opens(machine: Machine) -> bool:
    until_s = clock.steady_s() + OPENS_WITHIN_S
    while not await guest_agent.is_there(machine):
        if clock.steady_s() > until_s:
            return False
        await asyncio.sleep(LOOK_S)  # QEMU has no event for it that would not be missed.
    return True


async def _step(channel: Path, stood_s: float) -> ClockStep:
    """Relative to what the guest's own clock shows: hosts whose clocks differ do not matter.

    A guest that is slow to set its clock sets it too early, never too late; what is left is set once more.
    """
    async with guest_agent.talk(channel, TALK_S) as talk:
        before = now = await _best_reading(talk)
        stepped_s, note = 0.0, ""
        for _ in range(STEPS):
            step_s = guest_clock.step_s(stood_s - stepped_s, now.uncertainty_s)
            if not step_s:
                break
            note = await _put_forward(talk, now, step_s)
            now = await _best_reading(talk)
            stepped_s = (now.guest_s - before.guest_s) - (now.at_s - before.at_s)
        uncertainty_s = before.uncertainty_s + now.uncertainty_s
        if not stepped_s:
            note = f"it lags by less than can be set (to {before.uncertainty_s * 1e3:.0f} ms)"
        return ClockStep(stood_s, stepped_s, uncertainty_s, note)


async def _put_forward(talk: Talk, now: Reading, step_s: float) -> str:
    wanted_s = now.guest_s + (clock.steady_s() - now.at_s) + step_s
    try:
        await talk.ask("guest-set-time", time=int(wanted_s * 1e9))
    except AgentRefused as error:
        return f"qemu-guest-agent: {error}"  # It sets the clock first, then fails to set the guest's RTC.
    return ""


async def _best_reading(talk: Talk) -> Reading:
    readings = [await talk.clock() for _ in range(READINGS)]
    return min(readings, key=lambda reading: reading.uncertainty_s)
