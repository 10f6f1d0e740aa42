"""The balancer of the leader: looks at the load from time to time, says what it would do, and does it where it may.

It must not plan while a drain is under way, and never two plans at once.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from segue.adapters import clock
from segue.adapters.http.access import Caller
from segue.controller import balance
from segue.controller.app import Controller
from segue.controller.balance import Seen
from segue.errors import SegueError
from segue.model.balance import BalanceOrders, BalanceState, BookedMove, Booking, Mode, Temper
from segue.model.leadership import Tenure
from segue.model.store import Fenced
from segue.policy import balance as balancing
from segue.policy import temper

log = structlog.get_logger()
STEP_S: Final = 1.0


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts. A look that fails is repeated at the next."""
    loop = asyncio.get_running_loop()
    last_s = loop.time() - _since_look_s(controller)
    while True:
        wait_s = last_s + balance.decided(controller.mirror).look_s - loop.time()
        if wait_s > 0:  # In short steps: the orders may change meanwhile.
            await asyncio.sleep(min(wait_s, STEP_S))
            continue
        last_s = loop.time()
        try:
            await _look(controller, tenure)
        except Fenced:
            return  # Another leads.
        except SegueError as error:
            log.info("the balancer did not look", why=str(error))
        except Exception as error:
            log.error("unforeseen error of the balancer", exc_info=error)


def _since_look_s(controller: Controller) -> float:
    """The looks keep their pace over a change of leader."""
    kept = controller.mirror.balance_state.get("")
    return max(0.0, clock.wall_s() - kept.value.looked_s) if kept else 0.0


async def _look(controller: Controller, tenure: Tenure) -> None:
    orders = balance.decided(controller.mirror)
    await _realise(controller, tenure, orders)
    if orders.mode is Mode.OFF or balance.draining(controller.mirror) or balance.under_way(controller.mirror):
        return
    seen = await balance.look(controller, orders)
    await _say(controller, tenure, seen, orders)
    if orders.mode is Mode.AUTO and seen.plan.plan.moves:
        task = await balance.begin(controller, balance.BALANCER, "", seen, orders, fence=tenure.fence)
        what = f"balance {task.id[:8]}: {len(seen.plan.plan.moves)} moves"
        await controller.books.note(Caller("controller", controller.name), "", what, "begun", task.id)
        log.info("balances", task=task.id, moves=len(seen.plan.plan.moves), imbalance=seen.plan.before)


async def _say(controller: Controller, tenure: Tenure, seen: Seen, orders: BalanceOrders) -> None:
    """One entry for each look: what any controller shows, and what the next leader goes on from."""
    made, after = seen.plan, seen.temper
    why = made.why
    if seen.silent:
        why = "; ".join(part for part in (why, f"no load is known of {', '.join(seen.silent[:5])}") if part)
    state = BalanceState(
        looked_s=clock.wall_s(),
        # More than is needed to act says nothing.
        found=min(after.found, orders.settings.looks),
        acting=after.acting,
        imbalance=made.before,
        after=made.after,
        margin=seen.margin,
        why=why,
        moves=balancing.listed(made.plan),
        staying=dict(made.plan.staying),
    )
    table = controller.mirror.balance_state
    if table.get("") is None:
        await controller.books.add(table, "", state, fence=tenure.fence)
    else:
        await controller.books.change(table, "", lambda _: state, fence=tenure.fence)


async def _realise(controller: Controller, tenure: Tenure, orders: BalanceOrders) -> None:
    """Looks at what moves brought, once their time has come; forgets the oldest."""
    mirror, now_s = controller.mirror, clock.wall_s()
    table = mirror.bookings
    names = sorted(table.items())
    for name in names[: -balance.KEPT]:
        await controller.books.remove(table, name, fence=tenure.fence)
    due = {
        name: kept.value
        for name, kept in table.items().items()
        if not kept.value.looked_s and now_s - kept.value.ended_s >= orders.realise_after_s
    }
    if not due:
        return
    seen, _ = await balance.told(controller)
    asked = tuple(Booking(b.guest, b.source, b.target, b.planned) for b in due.values())
    found = temper.realise(Temper(bookings=asked), seen, orders.settings).bookings
    for name, booking in zip(due, found, strict=True):
        brought = booking.realised

        def looked(known: BookedMove, brought: float | None = brought) -> BookedMove:
            return replace(known, realised=brought, looked_s=now_s)

        await controller.books.change(table, name, looked, fence=tenure.fence)
