"""Many moves of one task: intended before they are begun, settled when they have ended, taken back where asked.

All of it stands in the task, so whoever leads next goes on. No guest's move is ever begun twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final

import structlog

from segue.adapters import clock
from segue.controller import fleet
from segue.controller.links import HostAway
from segue.controller.mirror import Mirror
from segue.controller.work import LOOK_S, Work, went_well, why
from segue.errors import SegueError
from segue.model.fleet import Fleet, FleetGuest
from segue.model.plan import Move
from segue.model.task import Task, TaskState, Trial
from segue.policy import outlook, reasons, timetable
from segue.policy.drain import Orders
from segue.policy.timetable import Job, Roads

log = structlog.get_logger()

FAILURES_MOST: Final = 3
"""Then the guest stays."""
RETRY_S: Final = 5.0
REST_S: Final = 0.05
"""Between two looks at least: agents tell in bursts, and each batch would be planned for by itself."""
REST_S_PER_GUEST: Final = 3e-5
"""Between two looks at the fleet, so that a large one does not have its leader plan all the time: for 100,000 guests
a plan takes about 3 s, and each report of a move would ask for another."""
Beginning = dict[str, asyncio.Task[None]]
"""guest -> its move as it is being begun here."""


async def until_ended(work: Work, step: Callable[[Work, Beginning], Awaitable[None]]) -> None:
    """Looks, lets `step` begin what may begin, and looks again, until the task has ended."""
    await work.save(lambda task: replace(task, state=_begun(task.state)))
    beginning: Beginning = {}
    try:
        while not work.task.ended:
            await _settle(work, set(beginning))
            await step(work, beginning)
            for guest in [guest for guest, task in beginning.items() if task.done()]:
                beginning.pop(guest).result()
            await work.controller.mirror.change(LOOK_S)
            rest_s = max(REST_S, REST_S_PER_GUEST * len(work.controller.mirror.guests.items()))
            await asyncio.sleep(rest_s)
    finally:
        for task in beginning.values():
            task.cancel()


def busy(work: Work, beginning: Beginning) -> set[str]:
    """Guests whose moves are begun, or just being begun."""
    return {trial.guest for trial in work.task.trials if trial.target} | set(beginning)


Send = Callable[[Work, str, str], Awaitable[str]]
"""(task, guest, target) -> the id of the migration that was begun."""


async def move(work: Work, guest: str, target: str) -> str:
    """A migration as the task wants them."""
    wish = work.task.wish
    return await work.begin_move(guest, target, dict(wish["limits"]), force=bool(wish["force"]))


async def begin(
    work: Work, moves: Iterable[tuple[str, str]], beginning: Beginning, send: Send = move
) -> None:
    """Notes each before it is done: from here on no plan has the guest, and another leader knows what to look for.

    moves: (guest, target).
    """
    for guest, target in moves:
        await _intend(work, guest, target)
        beginning[guest] = asyncio.create_task(_begin(work, guest, target, send))


async def stop(work: Work, busy_: set[str], done: str = "moved") -> None:
    """Takes back what can be, and waits for the rest."""
    await take_back(work, busy_)
    if not busy_:
        await work.end(TaskState.CANCELLED, f"cancelled; {len(work.task.moved)} guests were {done}")


async def take_back(work: Work, busy_: set[str]) -> None:
    """Those that have not come to their handoff."""
    moving = fleet.under_way(work.controller.mirror)
    numbers = {trial.migration for trial in work.task.trials}
    for guest in sorted(busy_):  # A set has another order in each process, and a rehearsal must not.
        if guest in moving and moving[guest].id in numbers and moving[guest].stage == "preparation":
            await work.take_back(moving[guest])


def adjusted(seen: Fleet, trials: Mapping[str, Trial]) -> Fleet:
    """Guests that are being moved, wait after a failure, or failed too often, as planners take them."""
    now_s = clock.wall_s()

    def as_planned(guest: FleetGuest) -> FleetGuest:
        trial = trials.get(guest.name)
        if trial is None or guest.moving_to:
            return guest
        if trial.target:
            return replace(guest, moving_to=trial.target)
        if trial.failures >= FAILURES_MOST:
            return replace(guest, pinned=f"{trial.failures} moves of it failed, the last one: {trial.why}")
        return replace(guest, pinned=f"tried again soon: {trial.why}") if waits(trial, now_s) else guest

    return replace(seen, guests=tuple(as_planned(guest) for guest in seen.guests))


def admitted(moves: Iterable[Move], seen: Fleet, orders: Orders) -> tuple[Job, ...]:
    """Those that may begin beside the moves that are under way."""
    roads, hosts = Roads(seen, orders.slots), {host.name: host for host in seen.hosts}
    guests = {guest.name: guest for guest in seen.guests}

    def job(name: str, source: str, target: str) -> Job:
        foreseen = outlook.of_move(guests[name], hosts[source], hosts[target], orders.basis)
        return roads.job(guests[name], source, target, foreseen, orders.basis)

    running = [
        job(guest.name, guest.host, guest.moving_to)
        for guest in seen.guests
        if guest.moving_to in hosts and guest.host in hosts and guest.host != guest.moving_to
    ]
    return timetable.admit([job(move.guest, move.source, move.target) for move in moves], running, roads)


def waits(trial: Trial, now_s: float) -> bool:
    """A pause that is longer than any was noted by a clock that was wrong, then or now."""
    return 0 < trial.retry_s - now_s <= RETRY_S * FAILURES_MOST


async def _settle(work: Work, beginning: set[str]) -> None:
    """What became of the moves that were begun."""
    task, mirror = work.task, work.controller.mirror
    now_s, trials, moved = clock.wall_s(), dict[str, Trial](), list(task.moved)
    for trial in task.trials:
        trials[trial.guest] = trial
        if not trial.target or trial.guest in beginning:
            continue
        number = trial.migration or work.begun_beside(trial.guest, trial.known)
        kept = mirror.migrations.get(number) if number else None
        if not number and _is_heard(mirror, trial.guest):
            trials[trial.guest] = replace(
                trial, target=""
            )  # It was meant to be begun by a leader that is gone.
        elif kept is not None and kept.value.ended and went_well(kept.value):
            moved.append(trial.guest)
            del trials[trial.guest]
        elif kept is not None and kept.value.ended:
            trials[trial.guest] = _failed(trial, why(kept.value), now_s)
        elif _is_taken_over(mirror, trial):
            trials[trial.guest] = replace(trial, target="", migration="")
        elif number:
            trials[trial.guest] = replace(trial, migration=number)
    settled = tuple(trials.values())
    if settled != task.trials or tuple(moved) != task.moved:
        # Only what we looked at is replaced: a move that is just being begun writes its own.
        await work.save(
            lambda now: replace(
                now, trials=_fitting(_merged(now.trials, task.trials, trials)), moved=tuple(moved)
            )
        )


def _is_heard(mirror: Mirror, guest: str) -> bool:
    """True where the guest's host says itself what it has begun."""
    owner = fleet.owners(mirror).get(guest)
    return owner is None or owner.host in fleet.linked(mirror)


def _is_taken_over(mirror: Mirror, trial: Trial) -> bool:
    """True where its source is proved to be off and the guest lives elsewhere: nobody will tell of that move."""
    death = mirror.deaths.get(trial.source) if trial.source else None
    if death is None or death.value.proof is None:
        return False
    owner = fleet.owners(mirror).get(trial.guest)
    return owner is not None and owner.host != trial.source and owner.host in fleet.linked(mirror)


def _merged(
    now: tuple[Trial, ...], looked_at: tuple[Trial, ...], settled: Mapping[str, Trial]
) -> tuple[Trial, ...]:
    unchanged = {trial.guest: trial for trial in looked_at}
    kept = []
    for trial in now:
        if unchanged.get(trial.guest) != trial:
            kept.append(trial)
        elif trial.guest in settled:
            kept.append(settled[trial.guest])
    return tuple(kept)


async def _intend(work: Work, guest: str, target: str) -> None:
    known, owner = work.migrations_of(guest), fleet.owners(work.controller.mirror).get(guest)
    source = owner.host if owner else ""
    await _try(
        work, guest, lambda trial: replace(trial, target=target, migration="", known=known, source=source)
    )


async def _begin(work: Work, guest: str, target: str, send: Send) -> None:
    """Does what was noted, and notes what came of it."""
    task = work.task
    try:
        number = await send(work, guest, target)
    except HostAway as error:
        # Its fault is not the target's: the intention stays until the source is heard again.
        log.info("a move waits for its source", task=task.kind, guest=guest, why=error.why)
        return
    except SegueError as error:
        reason, now_s = f"{error.what}: {error.why}", clock.wall_s()
        log.info("a move was refused", task=task.kind, guest=guest, target=target, why=error.why)
        await _try(work, guest, lambda trial: _failed(trial, reason, now_s))
        return
    await _try(work, guest, lambda trial: replace(trial, migration=number))


async def _try(work: Work, guest: str, decide: Callable[[Trial], Trial]) -> None:
    def changed(task: Task) -> Task:
        known = {trial.guest: trial for trial in task.trials}
        known[guest] = decide(known.get(guest, Trial(guest)))
        return replace(task, trials=_fitting(known.values()))

    await work.save(changed)


def _fitting(trials: Iterable[Trial]) -> tuple[Trial, ...]:
    """Where hundreds fail, less is kept of each reason: all of them are one entry of the store."""
    every = tuple(trials)
    chars = reasons.room(len(every))
    return tuple(
        replace(trial, why=trial.why[:chars]) if len(trial.why) > chars else trial for trial in every
    )


def _failed(trial: Trial, reason: str, now_s: float) -> Trial:
    """Another target is tried next; the one that failed may be well again later, but not for this guest now."""
    failures = trial.failures + 1
    not_to = (*trial.not_to, trial.target)
    return Trial(trial.guest, "", "", failures, not_to, reason[:300], now_s + RETRY_S * failures)


def _begun(state: TaskState) -> TaskState:
    return TaskState.RUNNING if state is TaskState.WAITING else state
