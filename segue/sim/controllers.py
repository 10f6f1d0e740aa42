"""The real controllers of a rehearsal: mirror, candidate, links, executor; over a store whose ways can be bad."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import msgspec

from segue.adapters import clock
from segue.adapters.clock import RealClock
from segue.adapters.metrics import Meter
from segue.agent import link
from segue.agent.app import Agent
from segue.agent.here import ThisHost
from segue.controller import executor
from segue.controller.app import Controller
from segue.controller.bars import Bars
from segue.controller.books import Books
from segue.controller.limits import Limits as CallLimits
from segue.controller.links import Links
from segue.controller.loads import Loads
from segue.controller.mirror import Mirror
from segue.controller.traces import Traces
from segue.engine.leadership import Candidate
from segue.errors import SegueError
from segue.model.answer import AnswerOrders
from segue.model.fencing import Death
from segue.model.leadership import HOLDER, Leader
from segue.model.maintenance import Maintenance
from segue.model.metrics import CONTROLLER
from segue.model.migration import Limits
from segue.model.store import Away, Change, Commit
from segue.model.task import Task, TaskKind, Wish, after
from segue.sim import checkers as checking
from segue.sim import levelling, line, upkeep
from segue.sim.faults import Fault, FaultKind, Strikes, freeze
from segue.sim.host import SimHost
from segue.sim.loop import Life, Process
from segue.sim.power import SimPowers
from segue.sim.scenario import Balance, Wanted
from segue.sim.store import MemoryStore, Shelf
from segue.sim.world import NodeClock, World

T = TypeVar("T")

REACH_S: Final = 0.001
AWAY_S: Final = 2.0
"""So long a client of the store waits before it says that the store is away."""
AGAIN_S: Final = 2.0
TRIES: Final = 40


class ReachedStore(MemoryStore):
    """A client whose way to the store may be cut, slow, or lose answers."""

    def __init__(self, shelf: Shelf, room: ControlRoom, name: str) -> None:
        super().__init__(shelf)
        self._room, self._name = room, name

    async def _go(self) -> None:
        self._demand_open()
        await self._travel()

    async def _come_back(self) -> None:
        if self._room.forgets and self._room.chance.random() < self._room.forgets:
            await asyncio.sleep(AWAY_S)
            raise _away("its answer was lost")
        await self._travel()

    async def _travel(self) -> None:
        await asyncio.sleep(REACH_S)
        if self._room.is_away:
            await asyncio.sleep(AWAY_S)
            if self._room.is_away:
                raise _away("it does not answer")

    async def _until(self, news: asyncio.Event) -> None:
        if self._room.is_away:
            await asyncio.sleep(AWAY_S)
            raise _away("it does not answer")
        await news.wait()


@dataclass(eq=False)
class SimController:
    """One controller's machine. It has no state of its own: what it knows is in the store."""

    name: str
    ticks: NodeClock
    powered: bool = True
    process: Process | None = None
    program: Controller | None = None


class ControlRoom:
    """All controllers, their store, and what people ask of them."""

    def __init__(self, world: World, count: int, evacuate: int = 0) -> None:
        self._world = world
        self.evacuate = evacuate
        self.shelf = Shelf(world.loop)
        self.chance = world.stream("store")
        self._numbers = itertools.count(1)
        self.is_away = False
        self.forgets = 0.0
        self.machines = {f"c{n + 1}": SimController(f"c{n + 1}", NodeClock(world.loop)) for n in range(count)}
        self.asked: list[str] = []
        """Ids of all tasks that were ever taken."""
        world.fabric.nodes.update(self.machines)
        world.is_proved = lambda host: any(
            death.proof for death in self.kept("deaths/", Death) if death.host == host
        )

    def decide(self, changes: Iterable[Change]) -> None:
        """What is in the store before anybody looks."""
        for number, change in enumerate(changes):
            self.shelf.apply(Commit(f"decided {number}", (change,)))

    def start(self, machine: SimController) -> None:
        """As the system's service manager does."""
        if machine.process is not None and machine.process.life is not Life.DEAD:
            return
        machine.process = self._world.process(machine.name, machine.ticks)
        task = machine.process.start(self._world.loop, self._serve(machine), f"controller {machine.name}")
        task.add_done_callback(lambda ended: self._ended(machine.name, ended))

    def start_all(self) -> None:
        """Those that are dead."""
        for machine in self.machines.values():
            self.start(machine)

    async def _serve(self, machine: SimController) -> None:
        """As controller/main.py, without its API over HTTP, its TLS, the renewal of certificates, and figures."""
        store = ReachedStore(self.shelf, self, machine.name)
        mirror = Mirror(store)
        candidate = Candidate(store, RealClock(), machine.name)
        nothing, books, loads = cast(Any, None), Books(store, mirror), Loads()
        bars = Bars(mirror, books, nothing, b"")
        machine.program = Controller(
            name=machine.name, store=store, mirror=mirror, books=books,
            links=Links(mirror, candidate.demand, bars, loads), loads=loads, candidate=candidate,
            authority=nothing, ca_pem=b"", own=nothing, bars=bars, limits=CallLimits(),
            certificate_s=0.0, meter=_meter(), traces=Traces(None), powers=SimPowers(self._world),
            answers=AnswerOrders(at_once=self.evacuate),
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            group.create_task(mirror.follow())
            group.create_task(executor.lead(machine.program))

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception) or error is None:
            self._world.broken(checking.AGENT, f"the controller {name} ended: {error!r}")

    # Agents

    def begin_link(self, agent: Agent, host: SimHost) -> asyncio.Task[None]:
        """The real link of an agent, to these controllers."""
        return asyncio.create_task(self.keep_link(host, ThisHost(agent)))

    async def keep_link(self, host: SimHost, here: link.Here) -> None:
        """For as long as the agent lives."""
        way = link.Way(
            controllers=tuple(self.machines),
            tls=lambda: cast(Any, None),
            own_socket=Path("/nowhere"),
            own_url=f"https://{host.address}:7443",
            labels=host.labels,
            dial=lambda name: line.dialled(host, name, self._links_of(name)),
        )
        await link.keep(way, here)

    def _links_of(self, name: str) -> Callable[[], Links]:
        def links() -> Links:
            program = self.machines[name].program
            if program is None:
                raise ConnectionError("connection refused")
            return program.links

        return links

    # People

    async def carry_out(self, wish: Wanted) -> None:
        """As the command line has the API do it: one task, asked for until some controller has taken it."""
        number = f"00000000-0000-4000-9000-{next(self._numbers):012d}"
        if wish.balance:
            return await self._balance(wish.balance, number)
        limits = msgspec.to_builtins(msgspec.convert(wish.limits, Limits))
        body: dict[str, Any] = {"limits": limits, "force": True}
        if name := _maintenance(wish, number):
            body |= {"maintenance": name, "parallel": wish.parallel}
        elif wish.drain:
            body |= {"hosts": list(wish.drain), "parallel": wish.parallel}
        else:
            body |= {"guest": wish.guest, "to": wish.to}
        self._world.say("people", f"segue {_words(wish)}")
        if not await self._until_taken(lambda program: self._add(program, number, wish, body)):
            self._world.say("people", f"no controller takes: {_words(wish)}")
            return None
        self.asked.append(number)
        if wish.cancel_s:
            await asyncio.sleep(wish.cancel_s)
            self._world.say("people", f"segue task cancel ({_words(wish)})")
            await self._until_taken(lambda program: self._cancel(program, number))
        return None

    async def _balance(self, wanted: Balance, number: str) -> None:
        self._world.say("people", f"segue balance {wanted}")
        if wanted is Balance.AUTO:
            await self._until_taken(levelling.switch_on)
        elif await self._until_taken(lambda program: levelling.apply(self._world, program, number)):
            self.asked += [number] if f"tasks/{number}" in self.shelf.entries else []

    async def _until_taken(self, ask: Callable[[Controller], Coroutine[Any, Any, bool]]) -> bool:
        for _ in range(TRIES):
            for machine in self.machines.values():
                program, process = machine.program, machine.process
                if program is None or process is None or process.life is not Life.RUNNING:
                    continue
                asking = process.start(self._world.loop, ask(program), "API")
                done, _ = await asyncio.wait({asking}, timeout=AGAIN_S)
                if done and asking.exception() is None and asking.result():
                    return True
            await asyncio.sleep(AGAIN_S)
        return False

    async def _add(self, program: Controller, number: str, wish: Wanted, body: dict[str, Any]) -> bool:
        """False: taken, but the caller was not told, or not taken at all."""
        if any(program.mirror.hosts.get(host) is None for host in (*wish.drain, *wish.maintain)):
            return False
        table, name = program.mirror.maintenances, _maintenance(wish, number)
        if name and table.get(name) is None:
            order = wish.order or upkeep.order(name, wish.maintain)
            await program.books.add(table, name, Maintenance(order, "people", clock.wall_s()))
        if program.mirror.tasks.get(number) is None:
            kind = TaskKind.MAINTENANCE if name else TaskKind.DRAIN if wish.drain else TaskKind.MOVE
            made = Task(number, kind, "people", clock.wall_s(), body)
            await program.books.add(program.mirror.tasks, number, made)
        if name:
            await program.books.change(table, name, lambda kept: replace(kept, task=number))
        return True

    async def _cancel(self, program: Controller, number: str) -> bool:
        task = program.books.known(program.mirror.tasks, number).value
        if not task.ended:
            await program.books.change(program.mirror.tasks, number, lambda now: after(now, Wish.CANCEL))
        return True

    # What is so

    def leader(self) -> SimController | None:
        """By what the store says."""
        held = self.shelf.entries.get(HOLDER)
        return self.machines.get(msgspec.json.decode(held.value, type=Leader).name) if held else None

    def tasks(self) -> list[Task]:
        """As the store has them."""
        return sorted(self.kept("tasks/", Task), key=lambda task: (task.created_s, task.id))

    def kept(self, prefix: str, shape: type[T]) -> list[T]:
        """All that the store has of that sort."""
        return [kept for _, kept in self.entries(prefix, shape)]

    def entries(self, prefix: str, shape: type[T]) -> list[tuple[str, T]]:
        """The same, with what follows the prefix in their keys."""
        found = [(key, entry) for key, entry in self.shelf.entries.items() if key.startswith(prefix)]
        return [(key[len(prefix) :], msgspec.json.decode(entry.value, type=shape)) for key, entry in found]

    # Faults

    def may_fail(self, strikes: Strikes) -> None:
        """Adds what can happen to controllers and their store."""
        strikes.may(FaultKind.KILL_CONTROLLER, lambda fault: self._kill(self.machines.get(fault.where)))
        strikes.may(FaultKind.KILL_LEADER, lambda fault: self._kill(self.leader()))
        strikes.may(FaultKind.FREEZE_LEADER, self._freeze_leader)
        strikes.may(FaultKind.STORE_AWAY, self._store_away)
        strikes.may(FaultKind.STORE_FORGETS, self._store_forgets)

    def _kill(self, machine: SimController | None) -> Callable[[], None]:
        if machine is None or machine.process is None:
            return lambda: None
        self._world.say(machine.name, "FAULT the controller is killed")
        machine.process.kill()
        machine.program = None
        return lambda: self.start(machine)

    def _freeze_leader(self, fault: Fault) -> Callable[[], None]:
        machine = self.leader()
        return freeze(self._world, machine.process if machine else None)

    def _store_away(self, fault: Fault) -> Callable[[], None]:
        self.is_away = True

        def mend() -> None:
            self.is_away = False

        return mend

    def _store_forgets(self, fault: Fault) -> Callable[[], None]:
        self.forgets = 0.3

        def mend() -> None:
            self.forgets = 0.0

        return mend


@cache
def _meter() -> Meter:
    """Nobody reads it: one for all controllers of all rehearsals."""
    return Meter(CONTROLLER)


def _words(wish: Wanted) -> str:
    if wish.order:
        return f"maintenance start {wish.order.name}"
    if wish.maintain:
        return f"maintenance start ({' '.join(wish.maintain)})"
    return f"drain {' '.join(wish.drain)}" if wish.drain else f"migrate {wish.guest} --to {wish.to}"


def _maintenance(wish: Wanted, number: str) -> str:
    """The name of the one that is wanted; empty for something else."""
    if wish.order:
        return wish.order.name
    return f"night-{int(number[-12:])}" if wish.maintain else ""


def _away(why: str) -> SegueError:
    return Away(what="the store does not answer", why=why, todo="Wait until it is back.")
