"""Writes what is known of a lost host: the incident that people read, and the record that leaders go on from."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from functools import partial
from typing import Any

import structlog

from segue.adapters import clock
from segue.controller import fleet
from segue.controller.app import Controller
from segue.errors import Kind, Refused, SegueError
from segue.model.fencing import Death, Proof
from segue.model.incident import Incident
from segue.model.leadership import Tenure
from segue.model.lifecycle import Stage
from segue.model.migration import Failure, Migration

log = structlog.get_logger()


async def prove(controller: Controller, tenure: Tenure, death: Death, proof: Proof) -> Death:
    """From now on it counts as off; the proof is in the store before anything follows from it."""
    books, mirror = controller.books, controller.mirror
    made = await books.change(
        mirror.deaths, death.host, lambda known: replace(known, proof=proof, why=""), fence=tenure.fence
    )
    await note(controller, tenure, death.host, f"it is off: {proof.text} ({proof.by})", proof=proof)
    log.warning("a host is proved to be off", host=death.host, by=proof.by, kind=proof.kind)
    return made


async def first_proof(host: str, *ways: Coroutine[Any, Any, Proof], failed: list[str] | None = None) -> Proof:
    """The first that proves: a BMC that hangs must not hold up a lease that is over. Raises Refused with what each of
    them says where none does.

    failed: gets what those say that do not prove it.
    """
    tasks = [asyncio.create_task(way) for way in ways]
    whys: dict[asyncio.Task[Proof], SegueError] = {}
    try:
        while left := set(tasks) - whys.keys():
            done, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.index):
                try:
                    return task.result()
                except SegueError as error:
                    log.warning("this does not prove that a host is off", host=host, why=error.why)
                    whys[task] = error
                    if failed is not None:
                        failed.append(error.why)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    first = whys[tasks[0]]
    raise Refused(
        what=first.what,
        why="; ".join(whys[task].why for task in tasks),
        todo=first.todo,
        kind=first.kind,
    )


async def note(controller: Controller, tenure: Tenure, host: str, text: str, **fields: Any) -> None:
    """Into the incident, once for each text, and beside the host."""
    kept = controller.mirror.deaths.get(host)
    if kept is None:
        return
    books, mirror = controller.books, controller.mirror

    def told(known: Incident) -> Incident:
        said = known if any(s.text == text for s in known.done) else known.with_step(clock.wall_s(), text)
        return replace(said, **fields)

    await books.change(mirror.incidents, kept.value.incident, told, fence=tenure.fence)
    if not fields and kept.value.why != text:
        log.error("a lost host", host=host, why=text)
        await books.change(mirror.deaths, host, lambda known: replace(known, why=text), fence=tenure.fence)


async def end(controller: Controller, tenure: Tenure, death: Death, text: str) -> None:
    """The incident is over; one that is over stays as it is."""

    def over(known: Incident) -> Incident:
        now_s = clock.wall_s()
        return replace(known.with_step(now_s, text), ended_s=now_s) if known.is_open else known

    await controller.books.change(controller.mirror.incidents, death.incident, over, fence=tenure.fence)


async def end_moves(controller: Controller, tenure: Tenure, host: str, *, is_dead: bool) -> None:
    """The migrations of a lost host that are over by their targets' word, and all of them where it is proved to be
    dead: nobody else would ever say so, and tasks wait for it. What its agent says once it is back counts more."""
    mirror = controller.mirror
    for move in list(mirror.migrations.values()):
        if move.source != host or move.ended:
            continue
        owner = fleet.owners(mirror).get(move.guest)
        if owner is not None and (owner.host, owner.phase) == (move.target, "owner"):
            ended = replace(move, stage=Stage.DONE, ended_s=clock.wall_s())
        elif not is_dead:
            continue
        else:
            why = f"{host} died while it was under way"
            failure = Failure(
                "aborted", move.undone, why, f"`segue vm show {move.guest}` says where it is now."
            )
            ended = replace(move, stage=Stage.LOST, ended_s=clock.wall_s(), failure=failure)
        await controller.books.change(
            mirror.migrations, move.id, partial(_unless_ended, ended), fence=tenure.fence
        )


def _unless_ended(ended: Migration, known: Migration) -> Migration:
    return known if known.ended else ended


def refused(what: str, why: str) -> Refused:
    """Nothing was done, and it is looked at again."""
    todo = "`segue incident list --open` shows what is waited for."
    return Refused(what=what, why=why, todo=todo, kind=Kind.POLICY)
