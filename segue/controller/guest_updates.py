"""A step of a maintenance: guests of a host get the QEMU that is installed now, in place or by a move.

It must never ask for a guest that is on its way already, and never choose a target that the maintenance keeps free.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

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


class GuestUpdates:
    """One host's."""

    def __init__(self, work: Work, order: Order, host: str, ask: Ask) -> None:
        self._work = work
        self._order = order
        self._host = host
        self._ask = ask

    async def carry_out(self) -> str:
        """One guest after another. Raises Refused with those that keep the old one, Aborted between two of them."""
        here, gone, failed = 0, [], []
        for name in await self._outdated():
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
        if not here and not gone:
            return "every guest runs in the QEMU that is installed"
        return f"{here} guests updated in place" + (f"; moved instead: {', '.join(gone)}" if gone else "")

    async def _outdated(self) -> list[str]:
        """Those that run in another QEMU than the installed one; those on their way are waited for first."""
        mirror = self._work.controller.mirror
        while any(m.source == self._host for m in fleet.under_way(mirror).values()):
            await mirror.change(LOOK_S)
        shown = msgspec.convert(await self._ask("GET", "/v1/guests"), list[Shown])
        return sorted(updating.chosen(shown, self._host, again=False))

    async def _update(self, name: str) -> str:
        """The host on which it runs then. Raises what the agent says against it, or why it failed."""
        wish = {
            "limits": msgspec.to_builtins(self._order.strategy.limits),
            "or_migrate": self._elsewhere(name),
        }
        made = msgspec.convert(await self._ask("POST", f"/v1/guests/{name}/update", wish), Migration)
        log.info("a guest gets another QEMU", guest=name, migration=made.id, target=made.target)
        ended = await self._ended(made.id)
        if not went_well(ended):
            raise Refused(what=f"{name} was not updated", why=why(ended), todo="Look at its migration.")
        return ended.target

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
