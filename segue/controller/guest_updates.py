"""A step of a maintenance: guests of a host get the QEMU that is installed now, in place or by a move.

It must never ask for a guest that is on its way already, and never choose a target that the maintenance keeps free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog

from segue.controller import fleet, updating, works
from segue.controller.host_run import Aborted
from segue.controller.work import LOOK_S, Work, went_well, why
from segue.errors import Kind, Refused, SegueError
from segue.model.maintenance import HostState, Order
from segue.model.migration import Migration
from segue.model.task import TaskState
from segue.policy import drain, maintenance
from segue.wire.frames import Shown

log = structlog.get_logger()
Ask = Callable[..., Awaitable[Any]]
TOLD: Final = 3
"""Looks, after which a host has told of a migration that it has begun."""


class GuestUpdates:
    """One host's."""

    def __init__(
        self, work: Work, order: Order, host: str, ask: Ask, rest: Callable[[], Awaitable[None]]
    ) -> None:
        """rest: between two looks; while the maintenance is paused no time passes."""
        self._work = work
        self._order = order
        self._host = host
        self._ask = ask
        self._rest = rest

    async def carry_out(self) -> str:
        """One guest after another. Raises Refused with those that keep the old one, Aborted between two of them."""
        await self._ask(
            "GET", "/v1/inventory"
        )  # Refused where the installed QEMU cannot be used: what is due, then?
        here, gone, failed = 0, [], []
        outdated, still = await self._outdated()
        for name in outdated:
            while self._work.task.state is TaskState.PAUSED:
                await self._rest()
            if self._work.task.state is TaskState.CANCELLING:
                raise Aborted
            try:
                moved = await self._update(name)
            except SegueError as error:
                failed.append(f"{name}: {error.why}")
                continue
            here += moved == self._host
            gone += [f"{name} to {moved}"] if moved != self._host else []
        if failed:
            raise Refused(
                what=f"{len(failed)} guests keep the old QEMU",
                why="; ".join(failed),
                todo="Move them to another host, or start them anew.",
                kind=Kind.POLICY,
            )
        left = f"; left as they are: {', '.join(still)}" if still else ""
        if not here and not gone:
            return left.removeprefix("; ") or "every guest runs in the QEMU that is installed"
        moved_ = f"; moved instead: {', '.join(gone)}" if gone else ""
        return f"{here} guests updated in place{moved_}{left}"

    async def _outdated(self) -> tuple[list[str], list[str]]:
        """Those that run in another QEMU than the installed one, and those of them that do not run, with their state.

        Those on their way are waited for first.
        """
        mirror = self._work.controller.mirror
        while any(m.source == self._host for m in fleet.under_way(mirror).values()):
            await mirror.change(LOOK_S)
        shown = await self._shown()
        due = updating.chosen(shown, self._host, again=False)
        still = [g for g in shown if g.host == self._host and g.qemu_outdated and g.name not in due]
        return sorted(due), sorted(f"{g.name} ({g.state})" for g in still if g.state not in works.GONE)

    async def _shown(self) -> list[Shown]:
        return msgspec.convert(await self._ask("GET", "/v1/guests"), list[Shown])

    async def _update(self, name: str) -> str:
        """The host on which it runs then. Raises what the agent says against it, or why it failed."""
        wish = {
            "limits": msgspec.to_builtins(self._order.strategy.limits),
            "or_migrate": self._elsewhere(name),
        }
        number = await self._begun(name, wish)
        ended = await self._ended(number)
        if not went_well(ended):
            raise Refused(what=f"{name} was not updated", why=why(ended), todo="Look at its migration.")
        return ended.target

    async def _begun(self, name: str, wish: dict[str, Any]) -> str:
        """The id of its migration. Where an answer was lost, what was asked for may be under way, or done."""
        known = self._work.migrations_of(name)
        try:
            made = msgspec.convert(await self._ask("POST", f"/v1/guests/{name}/update", wish), Migration)
        except SegueError:
            for _ in range(TOLD):
                if number := self._work.begun_beside(name, known):
                    return number
                await asyncio.sleep(LOOK_S)
            raise
        log.info("a guest gets another QEMU", guest=name, migration=made.id, target=made.target)
        return made.id

    async def _ended(self, number: str) -> Migration:
        mirror = self._work.controller.mirror
        while (kept := mirror.migrations.get(number)) is None or not kept.value.ended:
            await mirror.change(LOOK_S)
        return kept.value

    def _elsewhere(self, name: str) -> str:
        """Where it would go if this host was emptied now, if it can be to one that has had its turn, or has none.

        Empty where nothing takes it in.
        """
        mirror, controller = self._work.controller.mirror, self._work.controller
        known = controller.books.known(mirror.maintenances, self._order.name).value
        seen = works.seen(mirror, {}, controller.loads)
        turns = works.works(mirror, known)
        waiting = {host for host, turn in turns.items() if turn.state is HostState.WAITING}
        for closed in (waiting, set[str]()):
            plan = drain.plan(maintenance.reserved(seen, self._order, turns, closed), [self._host])
            if target := next((move.target for move in plan.moves if move.guest == name), ""):
                return target
        return ""
