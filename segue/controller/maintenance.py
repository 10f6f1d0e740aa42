"""Carries a maintenance out: lets hosts begin whose turn it is, moves their guests, and ends when all are done.

It keeps nothing but what is in the store, so whoever leads next goes on. It must never let a host begin that the
policy holds back, and never begin a guest's move twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final

import structlog

from segue.adapters import clock, prometheus
from segue.controller import absence, drain, fleet, moving, works
from segue.controller.absence import Absence
from segue.controller.host_work import HostRun, Moves
from segue.controller.work import Work
from segue.errors import Kind, Refused
from segue.model.fleet import Fleet
from segue.model.maintenance import HostState, HostWork, Maintenance, Outage
from segue.model.plan import Move, Plan
from segue.model.task import TaskState, Trial
from segue.policy import homecoming, maintenance, procedure
from segue.policy.drain import Orders
from segue.policy.maintenance import Beside, Next
from segue.policy.timetable import Slots

log = structlog.get_logger()
ALERTS_S: Final = 15.0
"""Between two questions to Prometheus while alerts hold hosts up; each host that may begin is asked for anew."""
PATIENCE_S: Final = 600.0
"""So long hosts wait for room while nothing else happens; then the maintenance ends without them."""


async def carry_out(work: Work) -> None:
    """Until all hosts are done, or none may begin any more."""
    roll = Roll(work, await _begun(work))
    try:
        await moving.until_ended(work, roll.look)
    finally:
        await roll.let_go()


async def _begun(work: Work) -> Maintenance:
    """With its hosts as they were in its scope at its beginning, and an entry for each."""
    controller, name = work.controller, str(work.task.wish["maintenance"])
    table = controller.mirror.maintenances
    known = _free_for(work, controller.books.known(table, name).value)
    if not known.hosts or not known.task:
        seen = fleet.seen(controller.mirror)

        def begun(kept: Maintenance) -> Maintenance:
            hosts = kept.hosts or maintenance.hosts_of(seen, kept.order.scope)
            return replace(_free_for(work, kept), hosts=hosts, task=work.id)

        known = await controller.books.change(table, name, begun, fence=work.tenure.fence)
    for host in known.hosts:
        await work.add(controller.mirror.maintenance_hosts, works.key(name, host), HostWork(host))
    return known


def _free_for(work: Work, known: Maintenance) -> Maintenance:
    """The maintenance itself. Raises Refused where another task has it: two may have been begun in the same moment."""
    if known.task not in {"", work.id}:
        raise Refused(
            what=f"the maintenance {known.order.name} is not begun",
            why="another task carries it out",
            todo=f"Look with `segue maintenance report {known.order.name}`.",
            kind=Kind.CONFLICT,
        )
    return known


class Roll:
    """One maintenance in one tenure."""

    def __init__(self, work: Work, ordered: Maintenance) -> None:
        self._work = work
        self._maintenance = ordered
        self._running: dict[str, asyncio.Task[None]] = {}
        self._moves = Moves({}, set(), {})
        self._absence = Absence(work.controller.mirror)
        self._alerts = "alerts were not asked for yet"
        self._asked_s: float | None = None
        self._idle_s: float | None = None

    async def look(self, work: Work, beginning: moving.Beginning) -> None:
        """Once: what may begin is begun, what is over is concluded."""
        order, known = self._maintenance.order, works.works(work.controller.mirror, self._maintenance)
        self._absence.look()
        busy = moving.busy(work, beginning) - absence.unheard(work, self._absence.gone()).keys()
        self._go_on(known)
        if work.task.state is TaskState.CANCELLING:
            await self._abort(known, busy)
            return
        if work.task.state is TaskState.PAUSED:
            return
        trials = {trial.guest: trial for trial in work.task.trials}
        not_to = {guest: trial.not_to for guest, trial in trials.items()}
        beside = works.beside(work.controller.mirror, order.name)
        seen = moving.adjusted(works.seen(work.controller.mirror, not_to, work.controller.loads), trials)
        seen = maintenance.shut(seen, beside.closed)
        now_s = clock.wall_s()
        found = await asyncio.to_thread(maintenance.next_hosts, seen, order, known, now_s, beside)
        begun = await self._begin(found, beside)
        leaving = maintenance.moves(seen, order, known).plan
        home, staying = homecoming.plan(seen, order, known)
        self._judge(seen, known, leaving, staying, busy, trials)
        wanted = [*(leaving.waves[0].moves if leaving.waves else ()), *home]
        await self._move(wanted, seen, beginning)
        await self._tell(found, known)
        if not begun:
            await self._conclude(found, known, busy, beside)

    async def let_go(self) -> None:
        """Nothing of it goes on here; what agents were asked for goes on there."""
        for task in self._running.values():
            task.cancel()
        if self._running:
            await asyncio.wait(self._running.values())

    def _go_on(self, known: Mapping[str, HostWork]) -> None:
        """Every host that is at work has somebody who does it, a leader's successor too."""
        for name, host in known.items():
            running = self._running.get(name)
            if host.state is HostState.WORKING and (running is None or running.done()):
                run = HostRun(self._work, self._maintenance, name, self._moves)
                self._running[name] = asyncio.create_task(run.carry_out(), name=f"maintenance of {name}")

    async def _begin(self, found: Next, beside: Beside) -> bool:
        """True where some host begins. beside: what others did when that was found."""
        if not found.begin or (why := await self._alert()):
            if found.begin:
                self._alerts = why
            return False
        controller, name = self._work.controller, self._maintenance.order.name
        async with controller.turns:
            if (
                self._work.task.state is not TaskState.RUNNING
                or works.beside(controller.mirror, name) != beside
            ):
                return False  # It is looked at anew.
            for host in found.begin:
                log.info("a host's maintenance begins", maintenance=name, host=host)
                await controller.books.change(
                    controller.mirror.maintenance_hosts,
                    works.key(name, host),
                    lambda known: replace(known, state=HostState.WORKING, begun_s=clock.wall_s()),
                    fence=self._work.tenure.fence,
                )
        self._asked_s = None  # That all was well is true of these alone.
        self._go_on(works.works(controller.mirror, self._maintenance))
        return True

    async def _alert(self) -> str:
        """Why no host begins now: what fires, or that nobody says."""
        alerts = self._maintenance.order.strategy.alerts
        if not alerts.prometheus:
            self._alerts = ""
            return ""
        now_s = clock.steady_s()
        if self._asked_s is None or now_s - self._asked_s >= ALERTS_S:
            self._asked_s = now_s
            try:
                firing = await prometheus.found(alerts.prometheus, alerts.query)
                self._alerts = f"alerts: {', '.join(firing[:5])}" if firing else ""
            except Refused as error:
                self._alerts = f"{error.what}: {error.why}"
        return self._alerts

    async def _move(self, wanted: list[Move], seen: Fleet, beginning: moving.Beginning) -> None:
        strategy = self._maintenance.order.strategy
        orders = Orders(Slots(per_source=strategy.parallel, per_target=strategy.parallel))
        shared = maintenance.within_shares(wanted, seen, strategy.moves_per)
        if admitted := moving.admitted(shared, seen, orders):
            await moving.begin(self._work, [(job.guest, job.target) for job in admitted], beginning)

    def _judge(
        self,
        seen: Fleet,
        known: Mapping[str, HostWork],
        leaving: Plan,
        staying: Mapping[str, str],
        busy: set[str],
        trials: Mapping[str, Trial],
    ) -> None:
        """Says to the hosts at work which of them cannot be emptied, and which have back whom they can have."""
        order = self._maintenance.order
        emptied, gone = procedure.emptied(order, known), self._absence.gone()
        told = drain.told_reasons(leaving.staying, trials)
        told |= absence.unheard(self._work, gone, emptied)
        calm = not (
            busy
            or leaving.moves
            or drain.among(self._work, emptied, gone)
            or drain.retrying(trials)
            or drain.arriving(self._work, emptied)
        )
        self._moves.stuck.clear()
        if calm and told and not self._absence.may_pass():
            for guest in seen.guests:
                if guest.name in told and guest.host in emptied:
                    why = f"{guest.name}: {told[guest.name]}"
                    self._moves.stuck[guest.host] = self._moves.stuck.get(guest.host, why)
        hopeless = {
            trial.guest: trial.why for trial in trials.values() if trial.failures >= moving.FAILURES_MOST
        }
        self._moves.staying.update({**staying, **hopeless})
        homes = set(homecoming.awaited(order, known).values())
        homes |= {name for name, host in known.items() if host.state is HostState.WORKING and not host.home}
        self._moves.home.clear()
        self._moves.home.update(
            home
            for home in homes
            if homecoming.is_settled(seen, order, known, {**staying, **hopeless}, home)
            and not drain.arriving(self._work, (home,))
        )

    async def _tell(self, found: Next, known: Mapping[str, HostWork]) -> None:
        """One line for people, written only where it is another one."""
        parts = [f"{sum(host.over for host in known.values())} of {len(known)} hosts done"]
        for name, host in known.items():
            if host.state is HostState.WORKING:
                title = self._maintenance.order.procedure[host.step].title
                parts.append(f"{name}: {title}{', ' if host.progress else ''}{host.progress}")
        if self._alerts and found.begin:
            parts.append(f"halted: {self._alerts}")
        elif why := next(iter(found.waits.values()), ""):
            parts.append(f"{next(iter(found.waits))} waits: {why}")
        note = "; ".join(parts)[:500]
        if note != self._work.task.note:
            await self._work.note(note=note)

    async def _conclude(
        self, found: Next, known: Mapping[str, HostWork], busy: set[str], beside: Beside
    ) -> None:
        """Once nothing is under way and nothing may begin any more."""
        order, now_s = self._maintenance.order, clock.wall_s()
        if busy or any(host.state is HostState.WORKING for host in known.values()):
            self._idle_s = None
            return
        waiting = [name for name, host in known.items() if host.state is HostState.WAITING]
        if waiting and not self._is_final(found, now_s, beside):
            return
        await self._end(known, waiting, found.waits, maintenance.stopped(order, known))

    def _is_final(self, found: Next, now_s: float, beside: Beside) -> bool:
        """True where those that wait will not begin, however long one looks."""
        order, steady_s = self._maintenance.order, clock.steady_s()
        known = works.works(self._work.controller.mirror, self._maintenance)
        ends_s = order.window.ends_s
        if maintenance.stopped(order, known) or (ends_s and now_s >= ends_s):
            return True
        bides = now_s < order.window.begins_s or maintenance.bakes(order, known, now_s)
        if found.begin or bides or beside.at_work:
            self._idle_s = None  # It waits for alerts to end, for its time, or for another maintenance.
            return False
        self._idle_s = steady_s if self._idle_s is None else self._idle_s
        return steady_s - self._idle_s > PATIENCE_S

    async def _end(
        self, known: Mapping[str, HostWork], waiting: list[str], waits: Mapping[str, str], stopped: str
    ) -> None:
        failed = {name: host.why for name, host in known.items() if host.state is HostState.FAILED}
        touched = any(p.ok for name in failed for p in known[name].passed)
        done = sum(host.state in {HostState.DONE, HostState.SKIPPED} for host in known.values())
        left = {name: stopped or waits.get(name, "its turn did not come") for name in waiting}
        note = f"{done} of {len(known)} hosts done"
        if failed:
            words = "failed, and left cordoned" if touched else "failed before anything was done"
            note += f"; {words}: {'; '.join(f'{name}: {why}' for name, why in failed.items())}"
        if left:
            note += f"; not begun: {', '.join(left)}: {next(iter(left.values()))}"
        await self._measure(known)
        state = TaskState.DONE if done == len(known) else TaskState.PARTIAL if done else TaskState.FAILED
        await self._work.end(state, note[:1000])

    async def _abort(self, known: Mapping[str, HostWork], busy: set[str]) -> None:
        """Hosts at work end their step; moves before their handoff are taken back."""
        await moving.take_back(self._work, busy)
        if busy or any(host.state is HostState.WORKING for host in known.values()):
            return
        done = sum(host.state in {HostState.DONE, HostState.SKIPPED} for host in known.values())
        touched = [
            f"{n}: {h.why}" for n, h in known.items() if h.state in {HostState.ABORTED, HostState.FAILED}
        ]
        await self._measure(known)
        note = f"aborted; {done} of {len(known)} hosts done" + (f"; {'; '.join(touched)}" if touched else "")
        await self._work.end(TaskState.CANCELLED, note[:1000])

    async def _measure(self, known: Mapping[str, HostWork]) -> None:
        """A step that failed or was aborted may have moved some, and some may have moved after it."""
        controller, name = self._work.controller, self._maintenance.order.name
        for host, work in known.items():
            if work.state not in {HostState.FAILED, HostState.ABORTED} or not work.begun_s:
                continue
            if found := works.outages(controller.mirror, work, work.begun_s, leaving=True):
                await controller.books.change(
                    controller.mirror.maintenance_hosts,
                    works.key(name, host),
                    partial(_measured, found),
                    fence=self._work.tenure.fence,
                )


def _measured(found: tuple[Outage, ...], work: HostWork) -> HostWork:
    return replace(work, outages=(*work.outages, *found))
