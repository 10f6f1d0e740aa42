"""Gives guests the QEMU that is installed on their host: one, or many of a host, a few at once. Their agents do it.

All of it stands in the task, so whoever leads next goes on. A guest is tried once: what it was refused for stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from segue.controller import absence, fleet, moving, single
from segue.controller.absence import Absence
from segue.controller.work import Work
from segue.model.migration import Limits
from segue.model.task import TaskState
from segue.policy import reasons, update
from segue.wire.frames import Shown


@dataclass(frozen=True)
class UpdateHost:
    """Body of POST /v1/hosts/{name}/update."""

    limits: Limits = field(default_factory=Limits)
    again: bool = False
    """Also guests that run in the installed QEMU already."""
    or_migrate: str = ""
    """Where it cannot be done in place, the host to move the guest to; none: it stays as it is."""
    parallel: int = 2
    """So many at once."""


def chosen(guests: Iterable[Shown], host: str, *, again: bool) -> list[str]:
    """Those that are to get another QEMU there."""
    return [
        guest.name
        for guest in guests
        if guest.host == host
        and update.is_due(guest.phase, guest.state, guest.qemu, is_outdated=guest.qemu_outdated, again=again)
    ]


def body(guests: list[str], host: str, wish: UpdateHost) -> dict[str, object]:
    """What the task keeps: these guests, whatever the host has by then."""
    return {
        "guests": guests,
        "host": host,
        "limits": msgspec.to_builtins(wish.limits),
        "again": wish.again,
        "or_migrate": wish.or_migrate,
        "parallel": wish.parallel,
    }


async def carry_out(work: Work) -> None:
    """One guest, or many."""
    if "guest" in work.task.wish:
        await _one(work, str(work.task.wish["guest"]))
        return
    if not work.task.wish["guests"]:
        # Refused where the installed QEMU is gone or broken: then nobody can say that nothing is due.
        await work.controller.links.call(str(work.task.wish["host"]), "GET", "/v1/inventory")
    await work.note(total=len(work.task.wish["guests"]))
    away = Absence(work.controller.mirror)
    await moving.until_ended(work, lambda _, beginning: _next(work, beginning, away))


async def _one(work: Work, name: str) -> None:
    async def send(_: str) -> str:
        return await _send(work, name, "")

    async def where() -> str:
        return fleet.guest(work.controller.mirror, name).host

    await single.begin_once(work, name, where, send)
    await single.follow(work, name)


async def _send(work: Work, guest: str, _: str) -> str:
    wish = {key: work.task.wish[key] for key in ("limits", "again", "or_migrate")}
    return await work.begin_at_source(guest, "update", wish)


async def _next(work: Work, beginning: moving.Beginning, away: Absence) -> None:
    away.look()
    task, unheard = work.task, absence.unheard(work, away.gone())
    busy = moving.busy(work, beginning) - unheard.keys()
    if task.state is TaskState.CANCELLING:
        await moving.stop(work, busy, "updated")
        return
    if task.state is TaskState.PAUSED:
        return
    failed = {trial.guest: trial.why for trial in task.trials if trial.failures} | unheard
    left = [name for name in task.wish["guests"] if name not in {*task.moved, *failed}]
    if begun := update.wave(left, busy, int(task.wish["parallel"])):
        await moving.begin(work, [(name, str(task.wish["host"])) for name in begun], beginning, _send)
    elif not left:
        await _conclude(work, failed)


async def _conclude(work: Work, failed: dict[str, str]) -> None:
    task = work.task
    note = f"{len(task.moved)} of {task.total} guests of {task.wish['host']} got the QEMU that is installed"
    await work.end(TaskState.PARTIAL if failed else TaskState.DONE, note, staying=reasons.kept(failed))
