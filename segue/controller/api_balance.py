"""The API's part for the balancer: what it would do, what it did, and what people want of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from segue.adapters.http.access import Caller
from segue.controller import api_common, api_doc, balance, gate
from segue.controller.api_common import Key
from segue.controller.app import Controller, controller_of
from segue.controller.gate import Asked
from segue.errors import Kind
from segue.model.balance import BalanceOrders, BalanceState, BookedMove, Mode
from segue.model.plan import BalancePlan
from segue.model.rights import Verb
from segue.model.task import Task, TaskKind
from segue.policy import temper

Surveyor = Annotated[Caller, Depends(gate.looks(Verb.SURVEY))]
Operator = Annotated[Asked, Depends(gate.asks(Verb.BALANCE))]
SHOWN = 20
"""The newest bookings."""
router = APIRouter(prefix="/v1", responses=api_doc.PROBLEMS)


@dataclass(frozen=True)
class BalanceWish:
    """Body of POST /v1/balance/plan and /v1/balance/tasks; what is left out is as it was ordered."""

    moves_most: int | None = None
    margin: float | None = None
    parallel: int | None = None
    blackout_s: float | None = None


@dataclass(frozen=True)
class ChangeOrders:
    """Body of PATCH /v1/balance; what is left out stays."""

    mode: Mode | None = None
    start_at: float | None = None
    stop_at: float | None = None
    hot_share: float | None = None
    looks: int | None = None
    margin: float | None = None
    moves_most: int | None = None
    cooldown_s: float | None = None
    cpu_load_most: float | None = None
    moves_per_day: int | None = None
    blackout_s_per_day: float | None = None
    parallel: int | None = None
    blackout_s: float | None = None
    look_s: float | None = None
    realise_after_s: float | None = None


@dataclass(frozen=True)
class Planned:
    """A plan, and how sure it had to be."""

    plan: BalancePlan
    margin: float
    silent: tuple[str, ...]
    """Hosts that told no load: nothing is moved to them."""


@dataclass(frozen=True)
class BalanceShown:
    """What was ordered, what was seen last, what it brought."""

    orders: BalanceOrders
    state: BalanceState
    margin: float
    task: str
    """The balancing that is under way; empty: none."""
    bookings: tuple[BookedMove, ...]
    """The newest first."""


@router.get("/balance")
async def show(request: Request, _: Surveyor) -> BalanceShown:
    """The balancer: orders, last look, bookings."""
    mirror = controller_of(request).mirror
    orders, kept, now = balance.decided(mirror), mirror.balance_state.get(""), balance.under_way(mirror)
    bookings = list(mirror.bookings.values())
    return BalanceShown(
        orders,
        kept.value if kept else BalanceState(),
        temper.margin(balance.remember(mirror).bookings, orders.settings),
        now.id if now else "",
        tuple(reversed(bookings[-SHOWN:])),
    )


@router.patch("/balance")
async def change(request: Request, wish: ChangeOrders, _: Operator) -> BalanceOrders:
    """Switches it off, on, or to advice alone, and says how it shall judge."""
    controller = controller_of(request)
    table, changes = controller.mirror.balance_orders, asdict(wish)
    balance.demand_sense(balance.with_changes(balance.decided(controller.mirror), changes))
    if table.get("") is None:
        await controller.books.add(table, "", BalanceOrders())
    return await controller.books.change(table, "", lambda known: balance.with_changes(known, changes))


@router.post("/balance/plan")
async def plan(request: Request, wish: BalanceWish, _: Surveyor) -> Planned:
    """What would be done now, and why; nothing is begun. For the controller that leads."""
    controller = controller_of(request)
    seen = await balance.look(controller, _asked(controller, wish))
    return Planned(seen.plan, seen.margin, seen.silent)


@router.post("/balance/tasks", status_code=202)
async def begin(
    request: Request, response: Response, wish: BalanceWish, asked: Operator, key: Key = ""
) -> Task:
    """Carries out what a plan says now: each move as it was planned, or not at all. For the controller that leads."""
    controller = controller_of(request)
    number, digest = api_common.numbered(asked, key), api_common.digest_of(TaskKind.BALANCE, wish)
    known = controller.mirror.tasks.get(number)
    made = known.value if known else await begun(controller, asked.by.name, number, wish)
    made = api_common.the_same(made, digest)
    response.headers["location"] = f"/v1/tasks/{made.id}"
    return made


async def begun(controller: Controller, by: str, number: str, wish: BalanceWish) -> Task:
    """A new one, by what is seen now. Raises Refused where there is nothing to move, or others need the room."""
    balance.demand_room(controller.mirror)
    orders = _asked(controller, wish)
    seen = await balance.look(controller, orders)
    if not seen.plan.plan.moves:
        raise balance.not_now(
            seen.plan.why or "there is nothing to move", "Nothing needs to be done.", Kind.POLICY
        )
    digest = api_common.digest_of(TaskKind.BALANCE, wish)
    return await balance.begin(controller, by, number, seen, orders, digest=digest)


def _asked(controller: Controller, wish: BalanceWish) -> BalanceOrders:
    """Whoever asks does not wait for three looks, and goes all the way to where the balancer would stop."""
    orders = balance.with_changes(balance.decided(controller.mirror), asdict(wish))
    balance.demand_sense(orders)
    return replace(orders, settings=replace(orders.settings, looks=1, start_at=orders.settings.stop_at))
