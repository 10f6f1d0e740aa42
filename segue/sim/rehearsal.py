"""Plays one scenario through: builds the world, lets people and faults act, waits for quiet, and asks the checkers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from segue.adapters.http.access import LOCAL
from segue.agent import plant, resident
from segue.agent.app import Agent
from segue.errors import SegueError
from segue.model.handoff import Phase
from segue.model.maintenance import HostWork
from segue.model.migration import Migration
from segue.model.task import Task
from segue.sim import agent as programs
from segue.sim import audit, crashing, decided, tonight
from segue.sim import checkers as checking
from segue.sim import host as machines
from segue.sim.checkers import Checkers
from segue.sim.controllers import ControlRoom
from segue.sim.door import Reply
from segue.sim.fabric import OUTSIDE, Fabric
from segue.sim.faults import Fault, FaultKind, Strikes
from segue.sim.host import SimHost
from segue.sim.loop import Killed, Life, Stuck
from segue.sim.scenario import Scenario, Wanted
from segue.sim.world import Load, World, Wrong

BOOT_S: Final = 2.0
LOOK_S: Final = 2.0
FENCE_S: Final = 8.0
IN_DOUBT: Final = frozenset({Phase.RELEASED, Phase.INCOMING})
STORY: Final = re.compile(
    r" *[\d.]+  (?P<who>\S+) +(?:warning: |error: )?"
    r"(?P<what>(?:segue |FAULT |BROKEN|FENCED|is at: |migration |leads |the drain |the maintenance "
    r"|a guest was restarted |reboots|all |\S+ stays: |the lease (?:is|was) over|a host is proved "
    r"|a host is lost |a lost host |a guest crashed |the guest lives elsewhere |a guest need not wait "
    r"|its watchdog ).*)"
)
NUMBERS: Final = re.compile(r"migration=\S+ |id=\S+ |name=\S+ | incident=\S+|(?<=silent) for [\d.]+ s")


@dataclass(frozen=True)
class Result:
    """What came of it. `digest`: of the whole log; two runs with the same digest went the same way."""

    name: str
    seed: str
    seconds: float
    steps: int
    wrong: tuple[Wrong, ...]
    lines: tuple[str, ...]
    migrations: tuple[Migration, ...]
    blackouts_s: dict[str, float]
    tasks: tuple[Task, ...] = ()
    works: tuple[tuple[str, HostWork], ...] = ()
    """Of maintenances: (NAME/HOST, how far it came)."""

    @property
    def digest(self) -> str:
        """SHA-256 of the log."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def story(self) -> list[str]:
        """What people asked, what went wrong, how migrations went, who led: without times and numbers."""
        kept = (STORY.fullmatch(line) for line in self.lines)
        return [f"{found['who']}: {NUMBERS.sub('', found['what'])}" for found in kept if found]


@dataclass
class Rehearsal:
    """One scenario under way."""

    scenario: Scenario
    world: World = field(init=False)
    strikes: Strikes = field(init=False)
    room: ControlRoom = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.scenario.seed)
        self.world.fabric = Fabric(self.world)
        self.world.checkers = Checkers(self.world)
        self.strikes = Strikes(self.world)
        self.room = ControlRoom(self.world, self.scenario.controllers, self.scenario.evacuate)
        if self.scenario.fleet is not None:
            self.room.decide(decided.changes(self.scenario.fleet))
        self.room.may_fail(self.strikes)
        self.strikes.may(FaultKind.LOSE_HOST, self._lose)
        for wish in self.scenario.wanted:
            if wish.order:
                self.world.script_s, self.world.reboot_s = tonight.times(wish.order)
        has_sensors = any(fault.kind in {FaultKind.AIL, FaultKind.RUMOUR} for fault in self.scenario.faults)
        for number, plan in enumerate(self.scenario.hosts):
            address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            made = SimHost(
                self.world,
                plan.name,
                address,
                plan.memory_bytes,
                plan.cpus,
                plan.link_bytes_per_s,
                plan.labels,
            )
            made.begin_agent = self._begin_agent
            made.has_sensors = has_sensors
            made.has_bmc, made.lease_s = plan.has_bmc, plan.lease_s
            self.world.hosts[plan.name] = self.world.fabric.nodes[plan.name] = made

    def play(self) -> Result:
        """From the beginning to the end."""
        try:
            self.world.loop.run(self._main())
        except Stuck as error:
            self.world.broken(checking.AGENT, str(error))
        return self._result()

    async def _main(self) -> None:
        scenario, loop = self.scenario, self.world.loop
        self.room.start_all()
        for host in self.world.hosts.values():
            self._introduce(host)
            host.start_agent()
        await asyncio.sleep(BOOT_S / 2)
        await self._make_guests()
        for wish in scenario.wanted:
            loop.call_at(wish.at_s, self._later, wish)
        for fault in scenario.faults:
            loop.call_at(fault.at_s, self.strikes.strike, fault)
        await asyncio.sleep(scenario.calm_s - loop.time())
        self.world.say("world", "all faults are over")
        self.strikes.mend_all()
        self.room.start_all()
        await self._until_quiet()
        if any(host.is_dead for host in self.world.hosts.values()):
            await self._repair_the_dead()
        if self.scenario.controllers:
            await crashing.in_calm(self.world, self.room, self.unsettled)
        self.world.checkers.at_end()
        if self.scenario.controllers:
            audit.at_end(self.world, self.room)

    async def _repair_the_dead(self) -> None:
        """Only now: what a fleet does without them has to come first."""
        some_live = any(not host.is_dead for host in self.world.hosts.values())
        for why in self.unsettled() if some_live else ():
            self.world.broken(checking.BACK, why)
        for host in self.world.hosts.values():
            host.is_dead = False
            host.give_power()
        self.world.say("world", "dead hosts are repaired")
        await self._until_quiet()

    async def _until_quiet(self) -> None:
        until_s = self.world.loop.time() + self.scenario.settle_s
        quiet = 0
        while self.world.loop.time() < until_s and quiet < 2:
            await asyncio.sleep(LOOK_S)
            await self._restart_the_lost()
            quiet = 0 if self.unsettled() else quiet + 1

    def unsettled(self) -> list[str]:
        """What is still under way."""
        more = (
            audit.unsettled(self.room) + audit.away(self.world, self.room)
            if self.scenario.controllers
            else []
        )
        return self.world.checkers.unsettled() + more

    # What people do

    async def _make_guests(self) -> None:
        for number, plan in enumerate(self.scenario.guests):
            spec = machines.guest(number + 1, plan.name, plan.memory_bytes, plan.vcpus, plan.on_crash)
            self.world.names[spec.uuid] = plan.name
            self.world.loads[plan.name] = Load(
                plan.dirty_bytes_per_s, plan.working_set_bytes, plan.cpu_cores, plan.tide_s
            )
            host = self.world.hosts[plan.host]
            assert host.agent is not None
            assert host.process is not None
            await host.process.start(self.world.loop, host.agent.guests.create(spec, start=True))

    def _later(self, wish: Wanted) -> None:
        self.world.loop.create_task(self.carry_out(wish), name="people")

    async def carry_out(self, wish: Wanted) -> None:
        """As an operator with a command line would: one try."""
        if wish.drain or wish.maintain or wish.order or wish.by_task or wish.balance:
            return await self.room.carry_out(wish)
        where = self._owner(wish.guest)
        self.world.say("people", f"segue migrate {wish.guest} --to {wish.to} (on {where.name})")
        body = {"to": wish.to, "limits": wish.limits, "force": True}
        reply = await self.ask(where, "POST", f"/v1/guests/{wish.guest}/migrations", body)
        if reply.status < 400 and wish.cancel_s:
            await asyncio.sleep(wish.cancel_s)
            number = json.loads(reply.body)["id"]
            self.world.say("people", f"segue migration cancel {wish.guest}")
            await self.ask(where, "POST", f"/v1/migrations/{number}/cancel")
        return None

    async def ask(self, host: SimHost, method: str, path: str, body: Any = None) -> Reply:
        """A call on the host itself; its answer, whatever it is, goes into the log where it is an error."""
        data = b"" if body is None else json.dumps(body).encode()
        if host.process is None or host.process.life is not Life.RUNNING:
            self.world.say("people", f"{host.name} does not answer")
            return Reply(503, b"{}")
        task = host.process.start(self.world.loop, host.answer(LOCAL, method, path, data))
        try:
            async with asyncio.timeout(60.0):
                reply = await asyncio.shield(task)
        except (TimeoutError, ConnectionError, Killed) as error:
            self.world.say("people", f"{host.name} does not answer: {error}")
            return Reply(504, b"{}")
        if reply.status >= 400:
            self.world.say("people", f"{host.name} answers: {json.loads(reply.body).get('why', '')}")
        return reply

    async def _restart_the_lost(self) -> None:
        """A guest whose QEMU was killed is never restarted unasked; somebody asks, once all is well."""
        for uuid in sorted(self.world.killed):
            name = self.world.names[uuid]
            where = self._owner(name)
            if uuid not in where.qemus and where.powered and not self.unsettled():
                self.world.say("people", f"segue vm start {name} (on {where.name})")
                await self.ask(where, "POST", f"/v1/guests/{name}/start")

    def _lose(self, fault: Fault) -> Callable[[], None]:
        """Its power is gone, and somebody vouches for that to all whose guests are in doubt."""
        lost = self.world.hosts[fault.where]
        lost.cut_power()
        lost.kept_off = True
        self.world.loop.create_task(self._fence(lost), name="people", context=OUTSIDE.context)
        return lost.give_power

    async def _fence(self, lost: SimHost) -> None:
        await asyncio.sleep(FENCE_S)
        for host in self.world.hosts.values():
            for uuid, token in checking.tokens(host).items():
                if token.peer == lost.name and token.phase in IN_DOUBT and host.powered:
                    name = self.world.names[uuid]
                    self.world.say("people", f"segue vm recover {name} --fenced {lost.name} (on {host.name})")
                    body = {"fenced": lost.name}
                    reply = await self.ask(host, "POST", f"/v1/guests/{name}/recover", body)
                    if reply.status < 400 and uuid not in host.qemus:
                        self.world.killed.add(uuid)
        lost.kept_off = False
        if lost.power_wanted:
            lost.give_power()

    def _owner(self, name: str) -> SimHost:
        uuid = next(uuid for uuid, known in self.world.names.items() if known == name)
        found = [(host.journal.token(uuid), host) for host in self.world.hosts.values()]
        return max(found, key=lambda pair: (pair[0].phase != "absent", pair[0].epoch))[1]

    # What the world consists of

    def _introduce(self, host: SimHost) -> None:
        """What controllers would tell it."""
        for other in self.world.hosts.values():
            if other is not host:
                host.journal.put_neighbour(other.name, f"https://{other.address}:7443")

    def _begin_agent(self, host: SimHost) -> None:
        assert host.process is not None
        serving = programs.serve(host, lambda agent: self._link(agent, host))
        task = host.process.start(self.world.loop, serving, f"agent of {host.name}")
        task.add_done_callback(lambda ended: self._ended(host.name, ended))

    def _link(self, agent: Agent, host: SimHost) -> asyncio.Task[None]:
        """Without controllers there is nobody to report to."""
        if self.scenario.controllers:
            return self.room.begin_link(agent, host)
        return asyncio.create_task(asyncio.sleep(0))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) or error is None:
            words = str(error) if isinstance(error, SegueError) else repr(error)
            self.world.broken(checking.AGENT, f"the agent of {name} ended: {words}")

    def _result(self) -> Result:
        tasks = tuple(self.room.tasks())
        migrations = [m for host in self.world.hosts.values() for m in host.journal.migrations()]
        return Result(
            self.scenario.name,
            self.scenario.seed,
            self.world.loop.time(),
            self.world.loop.steps,
            tuple(self.world.wrong),
            tuple(self.world.lines),
            tuple(sorted(migrations, key=lambda m: (m.started_s, m.id))),
            dict(self.world.blackouts_s),
            tasks,
            tuple(self.room.entries("maintenance-hosts/", HostWork)),
        )

    def forget(self) -> None:
        """Programs that were never ended are thrown away, and nothing of this world stays."""
        self.world.loop.forget()
        for kept in (resident._tasks, plant._tellings):
            kept.clear()
        for host in self.world.hosts.values():
            host.journal.close()
        self.__dict__.clear()


def play(scenario: Scenario) -> Result:
    """One scenario, from the beginning to the end."""
    collects = gc.isenabled()
    gc.disable()  # A collection runs what killed programs never would.
    gc.freeze()
    rehearsal = Rehearsal(scenario)
    try:
        with silence():
            structlog.configure(processors=[rehearsal.world.hear])
            result = rehearsal.play()
            structlog.configure(processors=[_drop])
            rehearsal.forget()
            del rehearsal
            while gc.collect():  # What coroutines held is free only once they have been closed.
                pass
        return result
    finally:
        gc.unfreeze()
        if collects:
            gc.enable()


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Nothing is logged, and programs that are thrown away in the middle of a line say nothing of it."""
    logs, heard = structlog.get_config(), sys.unraisablehook
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)
    sys.unraisablehook = _say_nothing
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        structlog.configure(**logs)
        sys.unraisablehook = heard


def _say_nothing(_args: object) -> None:
    """Of whatever it was."""


def _drop(_logger: Any, _method: str, _event: Any) -> Any:
    raise structlog.DropEvent
