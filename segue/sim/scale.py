"""How large a fleet one controller carries: the real one, with ten thousand links, and what that takes of this machine.

Virtual time says how long the fleet would need; this machine's time and memory say what the programs cost.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from segue.controller import fleet
from segue.model.balance import BalanceSettings, Temper
from segue.model.task import Task
from segue.policy import balance
from segue.sim import host as machines
from segue.sim import rehearsal
from segue.sim.checkers import Checkers
from segue.sim.controllers import ControlRoom
from segue.sim.fabric import Fabric
from segue.sim.light import LightHost
from segue.sim.scenario import Wanted
from segue.sim.world import NodeClock, World

GIB: Final = 1 << 30
CONNECT_S: Final = 60.0
"""Agents come within this time, as they do after a change of leader."""
BEATS_S: Final = 10.0
RACK: Final = 20
DRAIN_S: Final = 3600.0
LOOK_S: Final = 5.0
BALANCE_MOVES: Final = 200


@dataclass
class Phase:
    """One part: seconds of the fleet, seconds and memory of this machine."""

    name: str
    fleet_s: float
    machine_s: float
    peak_bytes: int
    facts: dict[str, float] = field(default_factory=dict)


OnPhase = Callable[[Phase], None]


class Scale:
    """One large fleet."""

    def __init__(self, hosts: int, guests: int, on_phase: OnPhase) -> None:
        self._on_phase = on_phase
        self.world = World("scale")
        self.world.fabric = Fabric(self.world)
        self.world.checkers = Checkers(self.world)
        self.room = ControlRoom(self.world, 1)
        self.phases: list[Phase] = []
        self.hosts: dict[str, LightHost] = {}
        for number in range(hosts):
            self._add_host(number)
        chance, names = self.world.stream("guests"), list(self.hosts)
        for number in range(guests):
            size = chance.choice([1, 2, 2, 4]) * GIB
            self.hosts[names[number % hosts]].add(machines.guest(number, f"g{number}", size))

    def _add_host(self, number: int) -> None:
        name, address = f"h{number}", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        labels = {"rack": f"r{number // RACK}"}
        made = LightHost(self.world, name, address, 64 * GIB, 32, self.hosts, labels)
        made.process = self.world.process(name, NodeClock(self.world.loop))
        self.hosts[name] = self.world.fabric.nodes[name] = made

    def play(self) -> list[Phase]:
        """All parts, one after another."""
        self.world.loop.run(self._main())
        return self.phases

    async def _main(self) -> None:
        self.room.start_all()
        await self._part("connect", self._connect())
        await self._part("heartbeats", self._beat())
        await self._part("drain of a rack", self._drain())
        await self._part("balance", self._balance())

    async def _part(self, name: str, work: Any) -> None:
        fleet_s, machine_s = self.world.loop.time(), time.process_time()
        facts = await work
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.phases.append(
            Phase(name, self.world.loop.time() - fleet_s, time.process_time() - machine_s, peak, facts)
        )
        self._on_phase(self.phases[-1])

    async def _connect(self) -> dict[str, float]:
        """Every agent says hello, and all that it has."""
        chance = self.world.stream("connect")
        for host in self.hosts.values():
            self.world.loop.call_later(chance.uniform(1.0, CONNECT_S), self._link, host)
        program = self._program
        while program is None or len(program.links.linked()) < len(self.hosts):
            await asyncio.sleep(LOOK_S)
            program = self._program
        await asyncio.sleep(LOOK_S)
        seen = fleet.seen(program.mirror)
        return {"hosts": len(seen.hosts), "guests": len(seen.guests), "entries": len(self.room.shelf.entries)}

    def _link(self, host: LightHost) -> None:
        assert host.process is not None
        host.process.start(self.world.loop, self.room.keep_link(cast(Any, host), host))

    @property
    def _program(self) -> Any:
        return self.room.machines["c1"].program

    async def _beat(self) -> dict[str, float]:
        before = sum(host.beats for host in self.hosts.values())
        await asyncio.sleep(BEATS_S)
        beats = sum(host.beats for host in self.hosts.values()) - before
        return {"beats": beats, "away": len(self.hosts) - len(self._program.links.linked())}

    async def _drain(self) -> dict[str, float]:
        emptied = tuple(name for name, host in self.hosts.items() if host.labels["rack"] == "r1")
        await self.room.carry_out(Wanted(0.0, drain=emptied, parallel=4))
        begun_s = self.world.loop.time()
        while not self._task().ended and self.world.loop.time() < begun_s + DRAIN_S:
            await asyncio.sleep(LOOK_S)
        left = sum(len(self.hosts[name].shown) for name in emptied)
        return {"moved": len(self._task().moved), "left": left, "ended": float(self._task().ended)}

    def _task(self) -> Task:
        return self.room.tasks()[-1]

    async def _balance(self) -> dict[str, float]:
        seen = fleet.seen(self._program.mirror)
        settings = BalanceSettings(moves_most=BALANCE_MOVES, start_at=0.0, stop_at=0.0, looks=1)
        begun_s = time.process_time()
        made, _ = balance.plan(seen, Temper(), 0.0, settings)
        spent_s = time.process_time() - begun_s
        return {"moves": len(made.plan.moves), "before": made.before, "after": made.after, "plan_s": spent_s}


def play(hosts: int, guests: int, on_phase: OnPhase = lambda phase: None) -> list[Phase]:
    """What each part took; `on_phase` is told of each as soon as it is over."""
    with rehearsal.silence():
        scale = Scale(hosts, guests, on_phase)
        gc.disable()  # Of a million objects that all live on, a collection looks at each.
        phases = scale.play()
        gc.enable()
        scale.world.loop.forget()
        scale.__dict__.clear()
        gc.collect()
    return phases
