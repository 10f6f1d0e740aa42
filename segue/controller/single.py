"""Tasks about one guest: created on the host that suits it best, moved, started, stopped. Agents check and do it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Final

import msgspec

from segue.controller import absence, fleet, homecomers, single_app
from segue.controller.absence import Absence
from segue.controller.links import COMMAND_S
from segue.controller.work import LOOK_S, Work, no_host, went_well, why
from segue.errors import InDoubt, Kind, Refused, SegueError
from segue.model.fleet import Fleet, FleetGuest
from segue.model.guest import Guest, Nic
from segue.model.migration import Failure, Migration
from segue.model.plan import Choice, NoHost
from segue.model.roster import GuestWishes
from segue.model.task import TaskKind, TaskState
from segue.policy import placement, reasons, takeover
from segue.wire.apps import RunApp
from segue.wire.frames import CreateGuest

TRIES: Final = 4
STOP_S: Final = 60.0


async def create(work: Work) -> None:
    """Places it, and has it made there; a host that refuses is left out, and the next best is asked."""
    app = single_app.wished(work.task.wish)
    wish = app or msgspec.convert(dict(work.task.wish), CreateGuest)
    path, within_s = (single_app.PATH, single_app.PULL_S) if app else ("/v1/guests", COMMAND_S)
    if (known := fleet.owners(work.controller.mirror).get(wish.name)) and known.host != work.task.host:
        raise Refused(
            what=f"cannot create {wish.name}",
            why=f"{known.host} has a guest of that name already",
            todo="Choose another name.",
            kind=Kind.CONFLICT,
        )
    if not known:
        await _decide_labels(work, wish.name)
    refused: dict[str, str] = {}
    for _ in range(TRIES):
        host = work.task.host or (await choose_new(work, wish, refused)).host
        await work.note(host=host, state=TaskState.RUNNING)
        if known and known.host == host:  # A leader before us had it made.
            break
        try:
            body = msgspec.to_builtins(wish)
            await work.controller.links.call(host, "POST", path, body, within_s=within_s)
            break
        except SegueError as error:
            if error.kind is not Kind.POLICY:
                raise
            refused[host] = error.why
            await work.note(host="")
    else:
        raise no_host(f"no host takes {wish.name}", "; ".join(f"{h}: {w}" for h, w in refused.items()))
    await work.end(TaskState.DONE, f"{wish.name} is on {host}")


async def _decide_labels(work: Work, name: str) -> None:
    """Before the guest is there: else it would be, for a moment, in nobody's scope, or in that of an earlier one."""
    tasks = work.controller.mirror.tasks.values()
    earlier = [
        task for task in tasks
        if task.kind is TaskKind.CREATE and not task.ended and task.id != work.id
        and task.wish.get("name") == name and (task.created_s, task.id) < (work.task.created_s, work.id)
    ]  # fmt: skip
    if earlier:
        raise Refused(
            what=f"cannot create {name}",
            why=f"task {earlier[0].id[:8]} creates a guest of that name",
            todo="Choose another name.",
            kind=Kind.CONFLICT,
        )
    books, table = work.controller.books, work.controller.mirror.wishes
    worn = dict(work.task.wish.get("labels", {}))
    if table.get(name) is None:
        await books.add(table, name, GuestWishes(name, worn))
    else:
        await books.change(
            table,
            name,
            lambda known: replace(known, labels={**known.labels, **worn}),
            fence=work.tenure.fence,
        )


async def choose_new(work: Work, wish: CreateGuest | RunApp, refused: dict[str, str]) -> Choice:
    """Raises Refused with the reason of every host."""
    spec = single_app.spec(wish) if isinstance(wish, RunApp) else _spec(wish)
    guest = fleet.new_guest(work.controller.mirror, spec)
    seen = await _looked(work, {guest.name: refused})
    return await _choose(work, guest, refused, seen)


def _spec(wish: CreateGuest) -> Guest:
    cards = tuple(Nic(str(n), nic.mac, nic.bridge, network=nic.network) for n, nic in enumerate(wish.nics))
    return Guest(wish.name, "", wish.memory_bytes, wish.vcpus, wish.cpu_model, nics=cards)


async def choose_target(work: Work, name: str, not_to: dict[str, str]) -> Choice:
    """Raises Refused with the reason of every host."""
    seen = await _looked(work, {name: not_to})
    guest = next(guest for guest in seen.guests if guest.name == name)
    return await _choose(work, guest, not_to, seen)


async def choose_again(work: Work, name: str, not_to: dict[str, str]) -> Choice:
    """For one that does not run, and may start anywhere but there. Raises Refused with the reason of every host."""
    wished = work.controller.mirror.wishes.get(name)
    if wished is not None and wished.value.pinned:
        raise no_host(f"{name} stays on its host", wished.value.pinned)
    seen = await _looked(work, {name: not_to})
    guest = next(guest for guest in seen.guests if guest.name == name)
    return await _choose(work, takeover.anew(guest), not_to, seen)


async def _looked(work: Work, not_to: dict[str, dict[str, str]]) -> Fleet:
    return await fleet.looked(work.controller.mirror, work.controller.loads, not_to)


async def _choose(work: Work, guest: FleetGuest, not_to: dict[str, str], seen: Fleet) -> Choice:
    if left := fleet.but((host.name for host in seen.hosts), not_to):
        guest = replace(guest, wants=fleet.narrowed(guest.wants, left))
    found = await asyncio.to_thread(placement.place, guest, seen)
    if isinstance(found, NoHost):
        told = {host: tuple(found.refused[host]) for host in found.refused}
        told |= {host: (said,) for host, said in not_to.items()}
        raise no_host(f"no host takes {guest.name}", reasons.together(_named(work, told)))
    return found


def _named(work: Work, told: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """A host that is away is closed to planners as a cordoned one is; people want to know which."""
    linked = fleet.linked(work.controller.mirror)
    return {host: why if host in linked else ("its agent is not connected",) for host, why in told.items()}


async def move(work: Work) -> None:
    """To the host that is named, or to the one that suits it best."""
    name, wish = str(work.task.wish["guest"]), work.task.wish
    limits, force = dict(wish.get("limits", {})), bool(wish.get("force"))

    async def where() -> str:
        return str(wish.get("to", "")) or (await choose_target(work, name, {})).host

    async def send(target: str) -> str:
        return await work.begin_move(name, target, limits, force=force)

    await begin_once(work, name, where, send)
    await follow(work, name)


async def follow(work: Work, name: str) -> None:
    """The task's one migration, to its end."""
    cancelled, away = False, Absence(work.controller.mirror)
    while True:
        away.look()
        record = work.controller.mirror.migrations.get(work.task.migration)
        if record is not None and record.value.ended:
            break
        if record is not None and work.task.state is TaskState.CANCELLING and not cancelled:
            cancelled = await work.take_back(record.value)
        if record is not None and record.value.source in away.gone():
            raise _unheard(work, record.value)
        await work.controller.mirror.change(LOOK_S)
    ended = record.value
    if went_well(ended):
        blackout_ms = ended.outcome.blackout_s * 1e3
        how = "started from its disks" if ended.cold else f"blackout {blackout_ms:.0f} ms"
        await work.end(TaskState.DONE, f"{name} runs on {ended.target}, {how}")
    elif cancelled:
        await work.end(TaskState.CANCELLED, f"{name} runs on {ended.source}", ended.failure)
    else:
        unknown = Failure("refused", ended.undone, why(ended), "Look at the migration's record.")
        await work.end(TaskState.FAILED, why(ended), ended.failure or unknown)


def _unheard(work: Work, migration: Migration) -> InDoubt:
    return InDoubt(
        what=f"nobody can tell where {migration.guest} is",
        why=absence.words(work.controller.mirror, migration.source, migration.target),
        todo=f"It is known when {migration.source} is back; or find out whether that host is dead, and "
        f"`segue host confirm-dead {migration.source}`.",
    )


async def begin_once(
    work: Work,
    name: str,
    where: Callable[[], Awaitable[str]],
    send: Callable[[str], Awaitable[str]],
) -> None:
    """One migration of the guest to the host that is chosen, whoever leads and however often it is asked for."""
    task = work.task
    if task.migration:
        return
    if task.host and (begun := work.begun_beside(name, task.known)):  # A leader before us began it.
        await work.note(migration=begun)
        return
    host = task.host or await where()
    known = work.migrations_of(name)
    await work.save(lambda now: replace(now, host=host, known=known, state=_running(now.state)))
    await work.note(migration=await send(host))


def _running(state: TaskState) -> TaskState:
    return TaskState.RUNNING if state is TaskState.WAITING else state


async def power(work: Work) -> None:
    """Starts or stops a guest where it is."""
    name, action = str(work.task.wish["guest"]), str(work.task.wish["action"])
    shown = fleet.guest(work.controller.mirror, name)
    host = shown.host
    await work.note(host=host, state=TaskState.RUNNING)
    body = {"within_s": STOP_S / 2} if action == "stop" else None
    call = partial(
        work.controller.links.call, host, "POST", f"/v1/guests/{name}/{action}", body, within_s=STOP_S + 30
    )
    try:
        await call()
    except SegueError as error:
        if error.kind is not Kind.UNREACHABLE or action != "start":
            raise
        await homecomers.vouch(work.controller, [shown])  # It may wait for a host that has no power.
        await call()
    await work.end(TaskState.DONE, f"{name}: {action} on {host}")
