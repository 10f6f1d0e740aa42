"""The steps of a maintenance on one host, one after another, each noted before it is begun.

Whoever leads next goes on from what is noted. It must never ask for a command a second time by another number, and
never give a host back that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import bmc_steps, commands, fleet, reboots, verifying, works
from segue.controller.guest_updates import GuestUpdates
from segue.controller.host_run import Aborted
from segue.controller.links import HostAway
from segue.controller.work import LOOK_S, Work
from segue.errors import Refused, SegueError
from segue.model.answer import Report
from segue.model.health import Level
from segue.model.job import Inventory
from segue.model.leadership import NotLeading
from segue.model.maintenance import HostState, HostWork, Maintenance, Outage, Passed, Step, StepKind
from segue.model.store import Away, Fenced, OutcomeUnknown
from segue.model.task import Task, TaskState
from segue.policy import answer, inventory, procedure

log = structlog.get_logger()
ANSWER_S: Final = 20.0
POLL_S: Final = 1.0
WORDS: Final = 4000
LEAST_S: Final = 60.0
"""That a leader which finds a step begun still gives it, however late it is."""
STEP_OVER: Final = {
    "acting": False, "attempt": 0, "boot": "", "rising": False, "flash": "", "old_version": "", "progress": "",
}  # fmt: skip
"""What is noted within a step, and is nothing to the next one."""


@dataclass
class Moves:
    """What the maintenance's planner says of guests that leave or come back, by the host."""

    stuck: dict[str, str]
    """Hosts whose guests cannot leave, with the reason."""
    home: set[str]
    """Hosts to which nobody is on the way any more who could be."""
    staying: dict[str, str]
    """Guests that do not go home, with the reason."""


class HostRun:
    """One host of one maintenance in one tenure."""

    def __init__(self, work: Work, maintenance: Maintenance, host: str, moves: Moves) -> None:
        self._work = work
        self.controller = work.controller
        self._order = maintenance.order
        self.host = host
        self._moves = moves
        self._notes: dict[str, Any] = {}
        """Fields that are written with the end of the step."""
        self._waits = ""
        self._limit = asyncio.timeout(None)

    @property
    def work(self) -> HostWork:
        """As it stands in the store."""
        table = self.controller.mirror.maintenance_hosts
        return self.controller.books.known(table, works.key(self._order.name, self.host)).value

    def wait_for(self, what: str) -> None:
        """Said where the step takes too long."""
        self._waits = what

    def note(self, **fields: Any) -> None:
        """Fields that are written with the end of the step."""
        self._notes |= fields

    async def rest(self) -> None:
        """Between two looks at the host or its BMC. Raises Aborted."""
        if self._work.task.state is TaskState.CANCELLING:
            raise Aborted
        await asyncio.sleep(POLL_S)

    async def save(self, **fields: Any) -> None:
        """Changes some of its fields."""
        table, name = self.controller.mirror.maintenance_hosts, works.key(self._order.name, self.host)
        await self.controller.books.change(
            table, name, lambda known: replace(known, **fields), fence=self._work.tenure.fence
        )

    async def carry_out(self) -> None:
        """Until the last step, or the first that fails."""
        try:
            while not self.work.over:
                await self._turn()
                await self._step(self._order.procedure[self.work.step])
        except Aborted:
            await self._give_up()
        except (NotLeading, Fenced, Away, OutcomeUnknown) as error:
            log.info("a host's maintenance is left to whoever leads", host=self.host, why=str(error))
        except SegueError as error:
            await self._fail(f"{error.what}: {error.why}")
        except TimeoutError:
            step = self._order.procedure[self.work.step]
            await self._fail(f"`{step.title}` took longer than {step.whole_s:g} s{self._last()}")
        except Exception as error:  # Else whoever looks next would begin the step again, for ever.
            log.error("unforeseen error in a maintenance", host=self.host, exc_info=error)
            await self._fail(f"an error nobody foresaw ({type(error).__name__}: {error})"[:WORDS])

    async def _turn(self) -> None:
        """Between two steps: waits while the maintenance is paused. Raises Aborted."""
        while (task := self._work.task).state is TaskState.PAUSED and not self.work.acting:
            await self.controller.mirror.change(LOOK_S)
        if task.state is TaskState.CANCELLING and not self.work.acting:
            raise Aborted

    async def _step(self, step: Step) -> None:
        known, self._notes, self._waits = self.work, {}, ""
        begun_s, rest_s = known.step_begun_s, step.whole_s
        if begun_s:
            rest_s = max(LEAST_S, rest_s - abs(clock.wall_s() - begun_s))
        else:
            begun_s = clock.wall_s()
            await self.save(step_begun_s=begun_s)
        log.info("a step of a maintenance", maintenance=self._order.name, host=self.host, step=step.title)
        async with asyncio.timeout(rest_s) as self._limit:
            if known.before is None and procedure.touches(self._order.procedure):
                await self.save(before=await self.inventory())
            note = await DO[step.kind](self, step)
        await self._passed(step, begun_s, note, ok=True)

    async def _passed(self, step: Step, begun_s: float, note: str, *, ok: bool) -> None:
        known, now_s = self.work, clock.wall_s()
        passed = Passed(
            known.step, step.title, begun_s, now_s, ok, note,
            str(self._notes.pop("job", "")), str(self._notes.pop("output", "")),
        )  # fmt: skip
        fields = {**self._notes, "passed": (*known.passed, passed), **STEP_OVER}
        following = procedure.following(self._order.procedure, replace(known, **fields))
        if not ok:
            fields |= {"state": HostState.FAILED, "why": f"{step.title}: {note}", "ended_s": now_s}
        elif following >= len(self._order.procedure):
            skipping = fields.get("skipping", known.skipping)
            fields |= {"state": HostState.SKIPPED if skipping else HostState.DONE, "ended_s": now_s}
        else:
            fields |= {"step": following, "step_begun_s": 0.0}
        await self.save(**fields)

    async def _fail(self, why: str) -> None:
        step = self._order.procedure[self.work.step]
        log.warning("a maintenance failed on a host", host=self.host, step=step.title, why=why)
        why = "; ".join(filter(None, (why, await bmc_steps.give_power_back(self))))
        await self._passed(step, self.work.step_begun_s or clock.wall_s(), why, ok=False)

    async def _give_up(self) -> None:
        """A host on which nothing was changed yet goes back into service; others stay cordoned."""
        known = self.work
        steps = self._order.procedure[: known.step + known.acting]
        touched = procedure.touches(steps) and not known.skipping
        said = ["aborted before it was changed"]
        if known.acting:
            said = [
                f"aborted within `{steps[-1].title}`{self._last()}",
                await bmc_steps.give_power_back(self),
            ]
        if touched:
            said = [*(said if known.acting else ["aborted after it was changed"]), "it stays cordoned"]
        elif any(step.kind is StepKind.CORDON for step in steps):
            await self._set_cordoned(known.was_cordoned)
        why = "; ".join(filter(None, said))
        await self.save(state=HostState.ABORTED, why=why, ended_s=clock.wall_s(), acting=False)

    def _last(self) -> str:
        return f": {self._waits}" if self._waits else ""

    async def _look_again(self) -> None:
        """Between two looks at what others do; while the maintenance is paused no time passes. Raises Aborted."""
        loop = asyncio.get_running_loop()
        before_s = loop.time()
        await self.controller.mirror.change(LOOK_S)
        state = self._work.task.state
        if state is TaskState.CANCELLING:
            raise Aborted
        until_s = self._limit.when()
        if state is TaskState.PAUSED and until_s is not None:
            self._limit.reschedule(until_s + loop.time() - before_s)

    # What it asks of the agent

    async def ask(self, method: str, path: str, body: object = None) -> Any:
        """The agent's answer; waits for an agent that is away, until the step's time is over. Raises Aborted."""
        while True:
            try:
                return await self.controller.links.call(self.host, method, path, body, within_s=ANSWER_S)
            except HostAway as error:
                self._waits = error.why
                if self._work.task.state is TaskState.CANCELLING:
                    raise Aborted from error
                if fleet.is_revoked(self.controller.mirror, self.host):
                    raise _gone(self.host) from error
                await self.controller.mirror.change(LOOK_S)

    async def inventory(self) -> Inventory:
        return msgspec.convert(await self.ask("GET", "/v1/inventory"), Inventory)

    async def add_task(self, task: Task) -> None:
        """One more for the leader; it is no error where a leader before us had begun it."""
        await self._work.add(self.controller.mirror.tasks, task.id, task)

    def number(self) -> str:
        """Says for what it is: the same step of the same task has no second command."""
        known = self.work
        return f"{self._work.id[:13]}-{known.step}-{known.attempt}"

    # Steps

    async def cordon(self, step: Step) -> str:
        """No guest comes in from now on; what is there is noted."""
        record = self.controller.books.known(self.controller.mirror.hosts, self.host).value
        by_bmc = procedure.by_bmc(self._order.procedure)
        files = await bmc_steps.images(self.controller, by_bmc)
        now = await bmc_steps.versions(self.controller, self.host, by_bmc, files)
        if procedure.is_new_already(self._order.procedure, now):
            self._notes["skipping"] = True
        if not self.work.noted:
            home = tuple(works.on_host(self.controller.mirror, self.host))
            await self.save(noted=True, was_cordoned=record.cordoned, home=home)
        await self._set_cordoned(True)
        return "it was cordoned already" if self.work.was_cordoned else ""

    async def drain(self, step: Step) -> str:
        """Waits for the planner's moves. Raises Refused where guests cannot leave."""
        if step.when_wanted and not self.work.wanted:
            if not (await self.inventory()).reboot_wanted:
                return "no reboot is wanted: its guests stay"
            await self.save(wanted=True)
        mirror = self.controller.mirror
        while left := works.on_host(mirror, self.host):
            self._waits = f"{', '.join(left[:5])} still there"
            if why := self._moves.stuck.get(self.host):
                raise Refused(what="its guests cannot leave", why=why, todo="Help them, and begin again.")
            await self._look_again()
        found = self._outages(leaving=True)
        self._notes["outages"] = (*self.work.outages, *found)
        return f"{len(found)} guests moved" if found else "no guest was there"

    async def run(self, step: Step) -> str:
        """A command, once for each attempt."""
        return await commands.run(self, step)

    async def update_guests(self, step: Step) -> str:
        """Gives its guests the QEMU that is installed now."""
        updates = GuestUpdates(self._work, self._order, self.host, self.ask, self._look_again)
        found = await updates.carry_out()
        self._notes["outages"] = (*self.work.outages, *self._outages(leaving=True))
        return found

    async def reboot(self, step: Step) -> str:
        """By its own system."""
        if step.when_wanted and not self.work.acting and not await self._wants_reboot():
            return "no reboot is wanted"
        return await reboots.reboot(self)

    async def power_cycle(self, step: Step) -> str:
        """By its BMC: off and on."""
        if step.when_wanted and not self.work.acting and not await self._wants_reboot():
            return "no reboot is wanted"
        return await bmc_steps.power_cycle(self, step)

    async def firmware(self, step: Step) -> str:
        """By its BMC: another one, and a start."""
        return await bmc_steps.firmware(self, step)

    async def _wants_reboot(self) -> bool:
        """What was said before the drain counts, where guests stayed because of it."""
        if procedure.drains_by_need(self._order.procedure):
            return self.work.wanted
        return bool((await self.inventory()).reboot_wanted)

    async def health(self, step: Step) -> str:
        """Waits until its agent and its BMC say that it is well, or no worse than before the maintenance."""
        while True:
            told = msgspec.convert(await self.ask("GET", "/v1/health/report"), Report)
            told = answer.ours(replace(told, host=self.host), clock.wall_s(), None)
            sensed = self.controller.mirror.sensors.get(self.host)
            [report] = answer.merged([told, *([sensed.value.report] if sensed else [])])
            if report.level is Level.HEALTHY:
                return "healthy"
            if report.level is Level.SUSPECT and 0 < report.since_s < self.work.begun_s:
                return f"as before: {report.text}"
            self._waits = f"{report.level}: {report.text}"
            await self._look_again()

    async def verify(self, step: Step) -> str:
        """Compares it with what it was; raises Refused where guests of it could not live there any more."""
        after, known = await self.inventory(), self.work
        before = known.before or after
        mirror = self.controller.mirror
        seen = works.seen(mirror, {}, self.controller.loads)
        others = [host.cpu_models for host in seen.hosts if host.name != self.host]
        changes = inventory.changes(before, after) + inventory.baseline_changes(before, after, others)
        self._notes |= {"after": after, "changes": (*self.work.changes, *changes)}
        host = next((host for host in seen.hosts if host.name == self.host), None)
        if host is None:
            raise Refused(what="it is not in the fleet", why="no agent reports it", todo="Look at the host.")
        unfit = inventory.unfit((guest for guest in seen.guests if guest.name in known.home), host)
        if unfit:
            why = "; ".join(f"{name}: {reason}" for name, reason in unfit.items())
            await self.save(**{key: self._notes[key] for key in ("after", "changes")})
            raise Refused(what="it cannot take its guests back", why=why, todo="Look at what changed on it.")
        proved = f"; {await verifying.within(self, step)}" if step.burn_s else ""
        return f"{len(self._notes['changes'])} changes{proved}"

    async def uncordon(self, step: Step) -> str:
        """Back into service, if a person had not taken it out before."""
        if self.work.was_cordoned:
            return "it stays cordoned: somebody had cordoned it before"
        await self._set_cordoned(False)
        return ""

    async def come_back(self, step: Step) -> str:
        """Waits for the planner's moves."""
        while self.host not in self._moves.home:
            await self._look_again()
        found = self._outages(leaving=False)
        self._notes["outages"] = (*self.work.outages, *found)
        there = set(works.on_host(self.controller.mirror, self.host))
        left = [name for name in self.work.home if name not in there]
        why = "; ".join(f"{name}: {self._moves.staying.get(name, 'it is gone')}" for name in left)
        return f"{len(found)} guests came back" + (f"; not: {why}" if left else "")

    async def _set_cordoned(self, cordoned: bool) -> None:
        hosts = self.controller.mirror.hosts
        await self.controller.books.change(
            hosts, self.host, lambda known: replace(known, cordoned=cordoned), fence=self._work.tenure.fence
        )

    def _outages(self, *, leaving: bool) -> tuple[Outage, ...]:
        """Of the moves of this step, as the sources' agents measured them."""
        return works.outages(self.controller.mirror, self.work, self.work.step_begun_s, leaving=leaving)


def _gone(host: str) -> Refused:
    return Refused(what="it is not worked on", why=f"{host} was taken out of the fleet", todo="Look at it.")


DO: Final[Mapping[StepKind, Callable[[HostRun, Step], Awaitable[str]]]] = {
    StepKind.CORDON: HostRun.cordon,
    StepKind.DRAIN: HostRun.drain,
    StepKind.RUN: HostRun.run,
    StepKind.UPDATE: HostRun.update_guests,
    StepKind.REBOOT: HostRun.reboot,
    StepKind.POWER_CYCLE: HostRun.power_cycle,
    StepKind.FIRMWARE: HostRun.firmware,
    StepKind.HEALTH: HostRun.health,
    StepKind.VERIFY: HostRun.verify,
    StepKind.UNCORDON: HostRun.uncordon,
    StepKind.RETURN: HostRun.come_back,
}
