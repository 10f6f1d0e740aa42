"""Carries out steps in order, journals each before it acts, and is the only thing that may undo."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import structlog

from segue.engine.clock import Clock
from segue.engine.ports import SagaLog
from segue.errors import Aborted, SegueError

log = structlog.get_logger()

R = TypeVar("R")
Act = Callable[[R], Awaitable[None]]

RETRY_FIRST_S: Final = 0.2
RETRY_MOST_S: Final = 5.0
UNDO_TRIES: Final = 5
CANCELLED: Final = "the migration was cancelled"


@dataclass(frozen=True)
class Step(Generic[R]):
    """One small act and its undo. Both may run twice; the undo also after half of the act.

    fades: what it reached is lost while nobody looks after it, so a restarted agent carries it out once more.
    """

    name: str
    do: Act[R]
    undo: Act[R] | None = None
    fades: bool = False


@dataclass(frozen=True)
class Saga(Generic[R]):
    """Before the handoff every step can be taken back; after it there is only forward.

    mourn: what is left to do where the guest was given back to this host, because its new one is proved to be dead.
    """

    prepare: tuple[Step[R], ...]
    handoff: Step[R]
    settle: tuple[Step[R], ...]
    mourn: Step[R]


class TurnedBack(Exception):
    """The saga was undone because of its cause; the guest is where it was before."""


class _Bereft(Exception):
    """The peer that a step speaks to is dead, and the guest is this host's again."""


class Runner(Generic[R]):
    """One saga under way. `released` reads from the journal whether the handoff happened, `returned` whether the guest
    was given back to this host after it."""

    def __init__(
        self,
        saga: Saga[R],
        run: R,
        journal: SagaLog,
        clock: Clock,
        *,
        released: Callable[[], bool],
        returned: Callable[[], bool],
        on_step: Callable[[str], None],
    ) -> None:
        self._saga = saga
        self._run = run
        self._journal = journal
        self._clock = clock
        self._released = released
        self._returned = returned
        self._on_step = on_step
        self._task: asyncio.Task[None] | None = None
        self._cancel_wanted = False
        self._handing_off = False
        self._turning_back = False

    def cancel(self) -> bool:
        """Turns back if the handoff has not begun; False when it is too late for that."""
        if self._turning_back:
            return True  # It is on its way back already, and must not be disturbed.
        if self._handing_off or self._released() or self._task is None:
            return False
        self._cancel_wanted = self._turning_back = True
        self._task.cancel()
        return True

    async def go(self) -> None:
        """Runs to the end, from wherever the journal says. Raises TurnedBack after a complete undo."""
        self._task = asyncio.current_task()
        marks = self._journal.marks()
        done = {step for mark, step in marks if mark == "done"}
        if self._saga.handoff.name not in done:
            if not self._released():
                if ("begun", self._saga.handoff.name) in marks or ("undoing", "") in marks:
                    await self._turn_back(_restarted())
                await self._prepare(done)
            await self._hand_off()
        await self._settle(done)

    async def _prepare(self, done: set[str]) -> None:
        try:
            for step in self._saga.prepare:
                if step.fades or step.name not in done:
                    await self._carry_out(step)
            await asyncio.sleep(0)  # A cancel that came with the last act is heard here, not in the blackout.
            self._handing_off = True
        except asyncio.CancelledError:
            if not self._cancel_wanted:
                raise  # The agent is being stopped: its successor goes on from the journal.
            _uncancel()
            await self._turn_back(_cancelled())
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing has been handed off yet
            await self._turn_back(error)

    async def _hand_off(self) -> None:
        """An error says nothing about who owns the guest: after each one the journal is asked."""
        self._handing_off = True
        pause_s = RETRY_FIRST_S
        while True:
            try:
                return await self._carry_out(self._saga.handoff)
            except Exception as error:  # noqa: BLE001 - the journal decides, never the exception
                if not self._released():
                    await self._turn_back(error)
                log.warning("the handoff is not confirmed yet", error=repr(error))
            await self._clock.rest(pause_s)
            pause_s = min(pause_s * 2, RETRY_MOST_S)

    async def _carry_out(self, step: Step[R]) -> None:
        self._journal.begun(step.name)
        self._on_step(step.name)
        await step.do(self._run)
        self._journal.done(step.name)

    async def _turn_back(self, cause: Exception) -> None:
        self._turning_back = True
        self._journal.undoing()
        marks = self._journal.marks()
        begun = {step for mark, step in marks if mark == "begun"}
        undone = {step for mark, step in marks if mark == "undone"}
        for step in reversed((*self._saga.prepare, self._saga.handoff)):
            if step.name in begun - undone and step.undo is not None:
                self._on_step(f"undo {step.name}")
                await self._retried(step.undo, f"undo {step.name}", tries=UNDO_TRIES)
                self._journal.undone(step.name)
        raise TurnedBack from cause

    async def _settle(self, done: set[str]) -> None:
        try:
            for step in self._saga.settle:
                if step.name not in done:
                    await self._until_done(step)
        except _Bereft:
            await self._until_done(self._saga.mourn)

    async def _until_done(self, step: Step[R]) -> None:
        self._journal.begun(step.name)
        self._on_step(step.name)
        await self._retried(step.do, step.name, tries=None)
        self._journal.done(step.name)

    async def _retried(self, act: Act[R], name: str, tries: int | None) -> None:
        """Repeats `act` until it succeeds; with `tries`, the last failure is logged and left to the peer.

        Without `tries`, which is after the handoff, it raises _Bereft where nothing can come of it any more.
        """
        pause_s, tried = RETRY_FIRST_S, 0
        while True:
            try:
                return await act(self._run)
            except Exception as error:
                tried += 1
                log.warning("step failed, trying again", step=name, error=repr(error), tried=tried)
                if tries is not None and tried >= tries:
                    return None
                if tries is None and name != self._saga.mourn.name and self._returned():
                    raise _Bereft from error
            await self._clock.rest(pause_s)
            pause_s = min(pause_s * 2, RETRY_MOST_S)


def _uncancel() -> None:
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _cancelled() -> SegueError:
    return Aborted(
        what=CANCELLED,
        why="somebody asked for it before the handoff",
        todo="Nothing: the guest runs on the source. Start it again when you like.",
    )


def _restarted() -> SegueError:
    return Aborted(
        what="the migration was undone",
        why="the source's agent was restarted in the blackout or while it was taking the migration back",
        todo="Start the migration again; nothing was lost.",
    )
