"""A maintenance before and around its carrying out: checked, foreseen, kept, begun, shown. It moves nothing."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

import msgspec

from segue.adapters import clock, prometheus
from segue.controller import bmc_steps, fleet, overlaps, works
from segue.controller.app import Controller
from segue.errors import Kind, Refused, SegueError
from segue.model.job import Inventory
from segue.model.maintenance import Foreseen, HostWork, Maintenance, Order, Step
from segue.model.roster import NAME
from segue.model.task import PARALLEL_MOST
from segue.policy import maintenance, maintenance_forecast, procedure

ASK_S: Final = 10.0
ASKED_AT_ONCE: Final = 32


@dataclass(frozen=True)
class Shown:
    """A maintenance as the API shows it. state: `planned`, or that of its task."""

    name: str
    state: str
    note: str
    begun_s: float
    ended_s: float
    maintenance: Maintenance
    hosts: tuple[HostWork, ...]


def demand_sound(order: Order) -> None:
    """Raises Refused for an order that nobody could carry out."""
    if found := list(_faults(order)):
        raise Refused(
            what=f"the maintenance {order.name[:40]} is not understood",
            why="; ".join(found),
            todo="Mend the file; docs/reference/maintenance.md has every key.",
            kind=Kind.USAGE,
        )


def _faults(order: Order) -> Iterator[str]:
    if not NAME.fullmatch(order.name):
        yield "its name is not made of small letters, digits and hyphens, 63 at most"
    scope, window, strategy = order.scope, order.window, order.strategy
    if sum(map(bool, (scope.hosts, scope.labels, scope.label))) != 1:
        yield "its scope is either hosts, or labels, or a domain"
    if bool(scope.label) != bool(scope.value):
        yield "a domain is a label with its value"
    if not all(math.isfinite(figure) for figure in _seconds(order)):
        yield "one of its times is no number"
    if window.ends_s and window.ends_s <= max(window.begins_s, 0.0):
        yield "its window ends before it begins"
    figures = (strategy.at_once, strategy.canary, strategy.bake_s, strategy.failures)
    if min(figures) < 0 or not 1 <= strategy.parallel <= PARALLEL_MOST:
        yield f"its strategy has a number below 0, or not 1 to {PARALLEL_MOST} moves at once"
    if any(most < 1 for most in (*strategy.per_domain.values(), *strategy.moves_per.values())):
        yield "a limit below 1 lets nothing happen"
    url = strategy.alerts.prometheus
    if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
        yield f"{url[:80]} is no URL of a Prometheus server"
    yield from procedure.faults(order.procedure)


def _seconds(order: Order) -> Iterator[float]:
    yield from (order.window.begins_s, order.window.ends_s, order.strategy.bake_s)
    for step in order.procedure:
        yield from (step.within_s, step.takes_s, step.graceful_s, step.burn_s)


async def foresee(controller: Controller, order: Order) -> Foreseen:
    """What it would do now, and what is missing: room, time, agents, the right to run commands, alerts."""
    demand_sound(order)
    now_s = clock.wall_s()
    seen = works.seen(controller.mirror, {}, controller.loads)
    made = await asyncio.to_thread(maintenance_forecast.foresee, seen, order, now_s)
    hosts = maintenance.hosts_of(seen, order.scope)
    beside = await asyncio.to_thread(overlaps.missing, controller.mirror, seen, order, made, now_s)
    missing = [
        *made.missing,
        *beside,
        *await _unready(controller, order, hosts),
        *await _bmcs(controller, order, hosts),
    ]
    others = {
        host: other.order.name
        for other in works.under_way(controller.mirror)
        if other.order.name != order.name
        for host in other.hosts
    }
    missing += [f"{host}: it is in the maintenance {others[host]}" for host in hosts if host in others]
    notes = [*made.notes, *_told(order), *await _firing(order), *await _files(controller, order)]
    return replace(made, missing=tuple(missing), notes=tuple(notes))


def _told(order: Order) -> list[str]:
    """How many of the guests want notice only they know."""
    limits = order.strategy.limits
    if limits.notice_s <= 0 or not procedure.drains(order.procedure):
        return []
    return [
        f"guests that want notice have up to {limits.notice_s:g} s before each move: that is not counted here"
    ]


async def _firing(order: Order) -> list[str]:
    alerts = order.strategy.alerts
    if not alerts.prometheus:
        return []
    try:
        found = await prometheus.found(alerts.prometheus, alerts.query)
    except Refused as error:
        return [f"no host would begin now: {error.what}: {error.why}"]
    return [f"no host would begin now: alerts: {', '.join(found[:5])}"] if found else []


async def _unready(controller: Controller, order: Order, hosts: tuple[str, ...]) -> list[str]:
    """Hosts whose agent is away, or lets nobody run anything. Only the leader has agents to ask."""
    linked, commands = fleet.linked(controller.mirror), procedure.changes(order.procedure)
    away = [f"{host}: its agent is not connected" for host in hosts if host not in linked]
    if not commands or not controller.links.linked():
        return away
    gate = asyncio.Semaphore(ASKED_AT_ONCE)

    async def ask(host: str) -> str:
        async with gate:
            try:
                told = await controller.links.call(host, "GET", "/v1/inventory", within_s=ASK_S)
                allowed = msgspec.convert(told, Inventory).commands
            except (SegueError, msgspec.ValidationError) as error:
                return f"{host}: its agent cannot be asked whether it takes commands: {error}"
            return "" if allowed else f"{host}: agent.toml does not let controllers run commands there"

    asked = await asyncio.gather(*(ask(host) for host in hosts if host in linked))
    return [*away, *filter(None, asked)]


async def _bmcs(controller: Controller, order: Order, hosts: tuple[str, ...]) -> list[str]:
    """Hosts whose BMC cannot do what is ordered: none is known, no answer, a wrong password, no such firmware."""
    steps, gate = procedure.by_bmc(order.procedure), asyncio.Semaphore(ASKED_AT_ONCE)
    try:
        files = await bmc_steps.images(controller, steps)
    except Refused as error:
        return [error.why]

    async def ask(host: str) -> str:
        async with gate:
            try:
                await bmc_steps.versions(controller, host, steps, files)
            except Refused as error:
                return f"{host}: {error.why}"
        return ""

    return list(filter(None, await asyncio.gather(*(ask(host) for host in hosts)))) if steps else []


async def planned(controller: Controller, order: Order) -> Order:
    """With the sums of the files that are there: whoever leads later pushes these, or nothing."""

    async def summed(step: Step) -> Step:
        if not step.file or step.sha256:
            return step
        try:
            found = await bmc_steps.images(controller, (step,))
        except Refused:
            return step
        return replace(step, sha256=found[step.file].sha256)

    return replace(order, procedure=tuple([await summed(step) for step in order.procedure]))


async def _files(controller: Controller, order: Order) -> list[str]:
    """For people: what would be pushed. What is wrong with them is said elsewhere."""
    try:
        found = await bmc_steps.images(controller, procedure.by_bmc(order.procedure))
    except Refused:
        return []
    return [f"{each.path}: {each.size} bytes, sha256 {each.sha256}" for each in found.values()]


async def keep(controller: Controller, order: Order, by: str) -> Maintenance:
    """Written, and begun by nobody yet; replaces one of that name that is not under way."""
    demand_sound(order)
    table = controller.mirror.maintenances
    order = await planned(controller, order)
    made = Maintenance(order, by, clock.wall_s())
    kept = table.get(order.name)
    if kept is None:
        await controller.books.add(table, order.name, made)
        return made
    _demand_still(controller, kept.value)
    await _forget_hosts(controller, kept.value)

    def replaced(now: Maintenance) -> Maintenance:
        """Somebody may have begun it in this moment."""
        _demand_still(controller, now)
        if now != kept.value:
            raise _refused_change(order.name, "somebody else changed it, or began it, in this moment")
        return made

    return await controller.books.change(table, order.name, replaced)


async def forget(controller: Controller, name: str) -> None:
    """Raises Refused for one that is under way."""
    known = controller.books.known(controller.mirror.maintenances, name).value
    _demand_still(controller, known)
    await _forget_hosts(controller, known)
    await controller.books.remove(controller.mirror.maintenances, name)


async def _forget_hosts(controller: Controller, known: Maintenance) -> None:
    table = controller.mirror.maintenance_hosts
    for key in table.under(known.order.name):
        if table.get(key) is not None:
            await controller.books.remove(table, key)


def _demand_still(controller: Controller, known: Maintenance) -> None:
    task = controller.mirror.tasks.get(known.task) if known.task else None
    if task is not None and not task.value.ended:
        raise _refused_change(known.order.name, f"it is {task.value.state}")


def _refused_change(name: str, why: str) -> Refused:
    return Refused(
        what=f"the maintenance {name} is not changed",
        why=why,
        todo=f"Wait for its end, or abort it: `segue maintenance abort {name}`.",
        kind=Kind.CONFLICT,
    )


def demand_unbegun(known: Maintenance) -> None:
    """A report stays what it is. Raises Refused."""
    if known.task:
        raise Refused(
            what=f"the maintenance {known.order.name} is not begun",
            why="it was begun before",
            todo="Plan it again: `segue maintenance plan FILE`.",
            kind=Kind.CONFLICT,
        )


def demand_complete(name: str, foreseen: Foreseen) -> None:
    """Raises Refused where something is missing."""
    if foreseen.missing:
        raise Refused(
            what=f"the maintenance {name} is not begun",
            why="; ".join(foreseen.missing[:5]),
            todo="Mend what is named here, or begin with --force: hosts that cannot begin are left out.",
            kind=Kind.POLICY,
        )


def shown(controller: Controller, known: Maintenance, *, hosts: bool = True) -> Shown:
    """As it stands."""
    kept = controller.mirror.tasks.get(known.task) if known.task else None
    task = kept.value if kept else None
    found = tuple(works.works(controller.mirror, known).values()) if hosts else ()
    return Shown(
        known.order.name,
        str(task.state) if task else "planned",
        task.note if task else "",
        task.created_s if task else 0.0,
        task.ended_s if task else 0.0,
        known,
        found,
    )
