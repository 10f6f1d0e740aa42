"""What goes wrong in a rehearsal, and when: named in a scenario, or drawn from the seed. And how it is mended again."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from segue.sim.fabric import OUTSIDE
from segue.sim.host import BmcState, SimHost, Trap
from segue.sim.loop import Process
from segue.sim.world import World


class FaultKind(StrEnum):
    """What can go wrong."""

    KILL_AGENT = "kill agent"
    KILL_AGENT_AT = "kill agent at a step"
    KILL_QEMU = "kill qemu"
    CUT_POWER = "cut power"
    LOSE_HOST = "lose host"
    FREEZE = "freeze agent"
    CUT_LINK = "cut link"
    CUT_ONE_WAY = "cut link one way"
    LATE = "late messages"
    CLOCK = "clock jumps"
    REFUSE = "qemu refuses to run"
    ISOLATE = "isolate host"
    SPLIT = "split network"
    DIE = "host dies"
    BMC_AWAY = "bmc away"
    BMC_SLOW = "bmc slow"
    BMC_DEAF = "bmc does nothing"
    AIL = "part fails"
    RUMOUR = "all sensors lie"
    COMMANDS = "commands fail"
    KILL_GUARD = "kill guard"
    FREEZE_GUARD = "freeze guard"
    KILL_CONTROLLER = "kill controller"
    KILL_LEADER = "kill leader"
    FREEZE_LEADER = "freeze leader"
    STORE_AWAY = "store away"
    STORE_FORGETS = "store answers are lost"


OF_BMCS: Final = frozenset({FaultKind.BMC_AWAY, FaultKind.BMC_SLOW, FaultKind.BMC_DEAF})
OF_CONTROLLERS: Final = OF_BMCS | frozenset(
    {
        FaultKind.ISOLATE,
        FaultKind.SPLIT,
        FaultKind.DIE,
        FaultKind.AIL,
        FaultKind.RUMOUR,
        FaultKind.COMMANDS,
        FaultKind.KILL_CONTROLLER,
        FaultKind.KILL_LEADER,
        FaultKind.FREEZE_LEADER,
        FaultKind.STORE_AWAY,
        FaultKind.STORE_FORGETS,
    }
)
OF_HOSTS: Final = OF_BMCS | {FaultKind.ISOLATE, FaultKind.DIE, FaultKind.AIL, FaultKind.COMMANDS}
"""Those of them that happen to one host."""
WEIGHTS: Final[Mapping[FaultKind, int]] = {
    FaultKind.KILL_AGENT: 3,
    FaultKind.KILL_AGENT_AT: 8,
    FaultKind.KILL_QEMU: 2,
    FaultKind.CUT_POWER: 2,
    FaultKind.LOSE_HOST: 2,
    FaultKind.FREEZE: 2,
    FaultKind.CUT_LINK: 4,
    FaultKind.CUT_ONE_WAY: 4,
    FaultKind.LATE: 3,
    FaultKind.CLOCK: 1,
    FaultKind.REFUSE: 2,
    FaultKind.ISOLATE: 3,
    FaultKind.SPLIT: 2,
    FaultKind.DIE: 2,
    FaultKind.BMC_AWAY: 1,
    FaultKind.BMC_SLOW: 1,
    FaultKind.BMC_DEAF: 1,
    FaultKind.AIL: 2,
    FaultKind.RUMOUR: 1,
    FaultKind.COMMANDS: 1,
    FaultKind.KILL_CONTROLLER: 1,
    FaultKind.KILL_LEADER: 4,
    FaultKind.FREEZE_LEADER: 2,
    FaultKind.STORE_AWAY: 2,
    FaultKind.STORE_FORGETS: 2,
}
OF_LEASES: Final[Mapping[FaultKind, int]] = {
    FaultKind.KILL_GUARD: 1,
    FaultKind.FREEZE_GUARD: 2,
    FaultKind.ISOLATE: 4,
    FaultKind.SPLIT: 2,
    FaultKind.DIE: 1,
    FaultKind.FREEZE: 3,
}
"""What is drawn besides where guests run by a lease."""
STEPS: Final = (
    "begun reserve target", "after offered", "after incoming", "done copy memory", "begun hand off",
    "before released", "after released", "hears grant", "before owner", "after owner", "hears confirm",
    "done hand off", "undoing", "begun retire source", "before absent", "after absent",
)  # fmt: skip
"""Places where a fault shows most: see agent/failpoints.py."""
AT_A_STEP: Final = frozenset(
    {
        FaultKind.KILL_AGENT,
        FaultKind.CUT_POWER,
        FaultKind.LOSE_HOST,
        FaultKind.FREEZE,
        FaultKind.CUT_LINK,
        FaultKind.CUT_ONE_WAY,
    }
)
SLOW_S: Final = 40.0
SUSPECT_SHARE: Final = 0.3
STORAGE_SHARE: Final = 0.5
PLACES_MOST: Final = 30
"""Of the named places that an agent passes in a migration."""


@dataclass(frozen=True)
class Fault:
    """At that second, for so long. `where`: a host or controller; `other`: the far end of a link."""

    at_s: float
    kind: FaultKind
    where: str = ""
    other: str = ""
    for_s: float = 5.0
    amount: float = 0.0
    step: str = ""
    """It waits until the agent of `where` is there: a name of agent/failpoints.py."""

    def __str__(self) -> str:
        ends = f" {self.where}" if self.where else ""
        ends += f" - {self.other}" if self.other else ""
        ends += f" at '{self.step}'" if self.step else ""
        return f"{self.kind}{ends} for {self.for_s:.1f} s"


def draw(
    chance: random.Random,
    hosts: list[str],
    controllers: list[str],
    most: int,
    until_s: float,
    weights: Mapping[FaultKind, int] = WEIGHTS,
) -> list[Fault]:
    """So many faults at most, in their order."""
    kinds = [kind for kind in weights if controllers or kind not in OF_CONTROLLERS]
    found = []
    for _ in range(chance.randint(0, most)):
        kind = chance.choices(kinds, [weights[kind] for kind in kinds])[0]
        ends = controllers if kind is FaultKind.KILL_CONTROLLER else hosts
        where = chance.choice(ends)
        other = chance.choice([one for one in [*hosts, *controllers] if one != where])
        step = chance.choice(STEPS) if kind in AT_A_STEP and chance.random() < 0.5 else ""
        amount = chance.uniform(-3600.0, 3600.0) if kind is FaultKind.CLOCK else chance.random()
        found.append(
            Fault(
                chance.uniform(3.0, until_s),
                kind,
                where,
                other if kind in {FaultKind.CUT_LINK, FaultKind.CUT_ONE_WAY} else "",
                chance.choice([0.3, 2.0, 6.0, 15.0, 30.0]),
                amount,
                step,
            )
        )
    return sorted(found, key=lambda fault: fault.at_s)


class Strikes:
    """Carries faults out, and mends them when their time is over, or all at once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._acts: dict[FaultKind, Callable[[Fault], Callable[[], None]]] = {
            FaultKind.KILL_AGENT: self._kill_agent,
            FaultKind.KILL_AGENT_AT: self._kill_agent_at,
            FaultKind.KILL_QEMU: self._kill_qemu,
            FaultKind.CUT_POWER: self._cut_power,
            FaultKind.FREEZE: self._freeze,
            FaultKind.CUT_LINK: lambda fault: self._cut(fault, both=True),
            FaultKind.CUT_ONE_WAY: lambda fault: self._cut(fault, both=False),
            FaultKind.LATE: self._late,
            FaultKind.CLOCK: self._clock,
            FaultKind.REFUSE: self._refuse,
            FaultKind.ISOLATE: self._isolate,
            FaultKind.SPLIT: self._split,
            FaultKind.DIE: self._die,
            FaultKind.AIL: lambda fault: self._ail([self._host(fault)], fault),
            FaultKind.RUMOUR: lambda fault: self._ail(list(self._world.hosts.values()), fault),
            FaultKind.COMMANDS: self._fail_commands,
            FaultKind.KILL_GUARD: self._kill_guard,
            FaultKind.FREEZE_GUARD: self._freeze_guard,
            FaultKind.BMC_AWAY: lambda fault: self._spoil(fault, BmcState(away=True)),
            FaultKind.BMC_SLOW: lambda fault: self._spoil(fault, BmcState(slow_s=SLOW_S * fault.amount)),
            FaultKind.BMC_DEAF: lambda fault: self._spoil(fault, BmcState(deaf=True)),
        }
        self._open: list[Callable[[], None]] = []

    def may(self, kind: FaultKind, act: Callable[[Fault], Callable[[], None]]) -> None:
        """One more kind: `act` returns what mends it."""
        self._acts[kind] = act

    def strike(self, fault: Fault) -> None:
        """Now."""
        self._world.say("world", f"FAULT {fault}")
        if fault.step:
            trap = Trap(fault.step, 1, lambda: self._begin(fault))
            self._world.hosts[fault.where].traps.append(trap)
        else:
            self._begin(fault)

    def _begin(self, fault: Fault) -> None:
        mend = self._acts[fault.kind](fault)
        self._open.append(mend)
        self._world.loop.call_later(fault.for_s, self._mend, mend, context=OUTSIDE.context)

    def mend_all(self) -> None:
        """From here on all is well."""
        for mend in list(self._open):
            self._mend(mend)
        for host in self._world.hosts.values():
            host.traps.clear()
            host.clock.off_s = 0.0
            host.give_power()
            host.start_agent()

    def _mend(self, mend: Callable[[], None]) -> None:
        if mend in self._open:
            self._open.remove(mend)
            mend()

    def _host(self, fault: Fault) -> SimHost:
        return self._world.hosts[fault.where]

    def _kill_agent(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        host.kill_agent()
        return host.start_agent

    def _kill_agent_at(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        trap = Trap("", 1 + int(fault.amount * PLACES_MOST), host.kill_agent)
        host.traps.append(trap)

        def mend() -> None:
            if trap in host.traps:
                host.traps.remove(trap)
            host.start_agent()

        return mend

    def _kill_qemu(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        found = sorted(host.qemus.values(), key=lambda qemu: qemu.guest.name)
        if found:
            chosen = found[int(fault.amount * len(found))]
            self._world.say(host.name, f"FAULT the QEMU of {chosen.guest.name} is killed")
            host.lose(chosen)
        return lambda: None

    def _cut_power(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        host.cut_power()
        return host.give_power

    def _freeze(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        thaw = freeze(self._world, host.process)

        def mend() -> None:
            host.agent_since_s = self._world.loop.time()
            thaw()

        return mend

    def _kill_guard(self, fault: Fault) -> Callable[[], None]:
        guard = self._host(fault).guard
        if guard is not None:
            guard.kill()
        return lambda: None

    def _freeze_guard(self, fault: Fault) -> Callable[[], None]:
        guard = self._host(fault).guard
        if guard is None:
            return lambda: None
        guard.stands = True
        return guard.thaw

    def _cut(self, fault: Fault, *, both: bool) -> Callable[[], None]:
        ways = {(fault.where, fault.other)} | ({(fault.other, fault.where)} if both else set())
        return self._world.fabric.sever(ways)

    def _isolate(self, fault: Fault) -> Callable[[], None]:
        """Its network is gone, but for that of its BMC; below half of `amount` the way to the storage, too."""
        fabric, host = self._world.fabric, self._host(fault)
        host.sees_storage = fault.amount >= STORAGE_SHARE
        join = fabric.sever(fabric.between([fault.where], fabric.nodes))

        def mend() -> None:
            host.sees_storage = True
            join()

        return mend

    def _split(self, fault: Fault) -> Callable[[], None]:
        """Two halves that do not see each other; which ones is left to `amount`."""
        fabric, chance = self._world.fabric, random.Random(fault.amount)
        half = [name for name in fabric.nodes if chance.random() < 0.5]
        return fabric.sever(fabric.between(half, set(fabric.nodes) - set(half)))

    def _die(self, fault: Fault) -> Callable[[], None]:
        """For good: it stays without power when all other faults are over."""
        host = self._host(fault)
        self._world.idle |= self._world.killed
        host.is_dead = True
        host.cut_power()
        return lambda: None

    def _ail(self, hosts: list[SimHost], fault: Fault) -> Callable[[], None]:
        """What their sensors say; whether it is true makes no difference to anybody."""
        for host in hosts:
            host.errors += 1.0 if fault.amount < SUSPECT_SHARE else 2.0

        def mend() -> None:
            for host in hosts:
                host.errors = 0.0

        return mend

    def _fail_commands(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        host.commands_fail = True

        def mend() -> None:
            host.commands_fail = False

        return mend

    def _spoil(self, fault: Fault, state: BmcState) -> Callable[[], None]:
        host = self._host(fault)
        host.bmc = state

        def mend() -> None:
            if host.bmc is state:
                host.bmc = BmcState()

        return mend

    def _late(self, fault: Fault) -> Callable[[], None]:
        fabric = self._world.fabric
        fabric.late = 0.3

        def mend() -> None:
            fabric.late = 0.0
            fabric.troubled_s |= dict.fromkeys(fabric.nodes, self._world.loop.time())

        return mend

    def _clock(self, fault: Fault) -> Callable[[], None]:
        self._host(fault).clock.off_s += fault.amount
        return lambda: None

    def _refuse(self, fault: Fault) -> Callable[[], None]:
        host = self._host(fault)
        struck = [qemu for qemu in host.qemus.values() if not qemu.ran]
        for qemu in struck:
            qemu.refuses = True

        def mend() -> None:
            for qemu in struck:
                qemu.refuses = False

        return mend


def freeze(world: World, process: Process | None) -> Callable[[], None]:
    """It stands still; what is returned lets it go on."""
    if process is None:
        return lambda: None
    process.freeze()
    return lambda: process.thaw(world.loop)
