"""A simulated host: what a power cut, a killed agent or a reboot takes away, and what stays. It decides nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from segue.adapters.http.access import Caller
from segue.adapters.store.journal import Journal
from segue.agent.app import Agent
from segue.engine.watch import Kept
from segue.model.crash import OnCrash
from segue.model.guest import Guest, Nic
from segue.model.handoff import Phase
from segue.model.host import HostFacts
from segue.sim import door
from segue.sim import loop as virtual
from segue.sim.copying import Copying
from segue.sim.door import Reply
from segue.sim.guard import SimGuard, SimWatchdog, Volatile
from segue.sim.loop import Life, Process
from segue.sim.qemu import Qemu
from segue.sim.world import NodeClock, World

GIB: Final = 1 << 30
CPU_MODEL: Final = "Nehalem"
NO_HEADERS: Final[Mapping[str, str]] = {}


class _Database:
    """A journal's connection: a process that was killed a moment ago writes nothing more."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.full = False

    def execute(self, statement: str, values: Iterable[Any] = ()) -> sqlite3.Cursor:
        """See sqlite3."""
        if not statement.startswith("select"):
            virtual.demand_alive()
            if self.full:
                raise sqlite3.OperationalError("database or disk is full")
        return self._database.execute(statement, tuple(values))

    def executemany(self, statement: str, values: Iterable[Any]) -> sqlite3.Cursor:
        """See sqlite3."""
        virtual.demand_alive()
        return self._database.executemany(statement, values)

    def close(self) -> None:
        """See sqlite3."""
        self._database.close()

    def __enter__(self) -> sqlite3.Connection:
        return self._database.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._database.__exit__(*error)


class SimJournal(Journal):
    """The real one, in memory: it outlives the agent, the power, everything but its host."""

    def __init__(self, boot: str) -> None:
        super().__init__(Path(":memory:"), boot)
        self._db = cast(sqlite3.Connection, _Database(self._db))
        self.traces._db = self.incidents._db = self.jobs._db = self.leases._db = self._db

    def rebooted(self, boot: str) -> None:
        """The machine had no power in between."""
        self._boot = self.leases._boot = boot


@dataclass
class Trap:
    """What happens when the agent has come to a place, or to so many places of any name, for the `left`th time."""

    place: str
    left: int
    act: Callable[[], None]


@dataclass
class BmcState:
    """What is wrong with its BMC: it does not answer, takes its time, or takes orders and does nothing."""

    away: bool = False
    slow_s: float = 0.0
    deaf: bool = False


@dataclass(eq=False)
class SimHost:
    """One machine. `devices`: taps, tunnels and hooks in its kernel, by name."""

    world: World
    name: str
    address: str
    memory_bytes: int = 16 * GIB
    cpus: int = 16
    link_bytes_per_s: float = 125e6
    labels: dict[str, str] = field(default_factory=dict)
    powered: bool = True
    process: Process | None = None
    """Its agent."""
    qemus: dict[str, Qemu] = field(default_factory=dict)
    sending: list[Copying] = field(default_factory=list)
    receiving: list[Copying] = field(default_factory=list)
    devices: set[str] = field(default_factory=set)
    kept_off: bool = False
    """Somebody vouched that it has no power, and keeps it so until all who were told have acted on it."""
    power_wanted: bool = False
    is_dead: bool = False
    """It broke: no power until somebody has repaired it."""
    has_bmc: bool = True
    bmc: BmcState = field(default_factory=BmcState)
    lease_s: float = 0.0
    """Its guests run by a lease of so long; 0: by none."""
    guard: SimGuard | None = None
    watchdog: SimWatchdog | None = None
    lease_ends: Volatile = field(default_factory=Volatile)
    agent_since_s: float = 0.0
    """When its agent was started, or let go on, last."""
    sees_storage: bool = True
    commands: dict[str, int | None] = field(default_factory=dict)
    """Of maintenances, by their number: how they ended; None while they run."""
    ended_s: dict[str, float] = field(default_factory=dict)
    commands_fail: bool = False
    has_sensors: bool = False
    errors: float = 0.0
    """What its sensor counts: 1 is suspect, 2 is failing."""
    health_kept: Kept | None = None
    boots: int = 1
    numbers: int = 0
    begin_agent: Callable[[SimHost], None] = lambda host: None
    agent: Agent | None = None
    """Its program, once it serves; of a process that may have died since."""
    traps: list[Trap] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock = NodeClock(self.world.loop)
        self.journal = SimJournal(self._boot_id())
        self.journal.leases.keep_ends_in(cast(Any, self.lease_ends))

    # QEMUs and devices

    def start_qemu(self, guest: Guest, *, incoming: bool) -> Qemu:
        """An empty one that waits, or one that is to boot from disk."""
        virtual.demand_alive()
        self.numbers += 1
        made = Qemu(self, guest, incoming, self.numbers)
        if not incoming:
            made.complete = True
            made.content = self.world.new_content()
        self.qemus[guest.uuid] = made
        self.world.checkers.placed(self)
        return made

    def owns(self, uuid: str) -> bool:
        """What its journal says; a copy that was only made ready here is no loss."""
        return self.journal.token(uuid).phase is Phase.OWNER

    def by_number(self, number: int) -> Qemu | None:
        """The process of that number, if it lives."""
        return next((qemu for qemu in self.qemus.values() if qemu.number == number), None)

    def keep_devices(self, *names: str) -> None:
        """They are there now."""
        virtual.demand_alive()
        self.devices.update(names)

    def drop_devices(self, *names: str) -> None:
        """They are not there any more."""
        virtual.demand_alive()
        self.devices.difference_update(names)

    def facts(self, promised_bytes: int) -> HostFacts:
        """As its agent would measure them."""
        return HostFacts(
            name=self.name, instance=self.journal.instance, segue_version="simulated", wire_version=1,
            wire_versions=(1, 2), qemu_version="10.0", accelerator="tcg", machines=("pc-q35-10.0",),
            cpu_models={CPU_MODEL: ()}, memory_total_bytes=self.memory_bytes,
            memory_free_bytes=max(0, self.memory_bytes - promised_bytes), cpus=self.cpus, bridges=("br0",),
            guests=tuple(sorted(qemu.guest.name for qemu in self.qemus.values())), kernel="6.12",
        )  # fmt: skip

    async def answer(
        self, caller: Caller, method: str, path: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS
    ) -> Reply:
        """Its agent's API; for the process of the agent. One that still starts accepts no connections."""
        if self.agent is None:
            raise ConnectionError(f"{self.name} does not answer: connection refused")
        return await door.serve(self.agent, caller, method, path, body, headers)

    # What happens to it

    @property
    def agent_lives(self) -> bool:
        """True while its agent is a process, frozen or not."""
        return self.process is not None and self.process.life is not Life.DEAD

    def well_s(self) -> float:
        """Seconds for which its agent has run, and everything has got through to it and from it."""
        runs = self.powered and self.process is not None and self.process.life is Life.RUNNING
        since_s = self.world.loop.time() - self.agent_since_s
        return min(since_s, self.world.fabric.whole_s(self.name)) if runs else 0.0

    def kill_agent(self) -> None:
        """As by SIGKILL; guests run on."""
        if self.process is not None:
            self.process.kill()

    def start_agent(self) -> None:
        """As the system's service manager does."""
        if self.powered and not self.agent_lives:
            self.agent_since_s = self.world.loop.time()
            self.process, self.agent = self.world.process(self.name, self.clock), None
            self.begin_agent(self)

    def cut_power(self) -> None:
        """All that is not on disk is gone."""
        self.kill_agent()
        self.powered = False
        self.world.fabric.note(self.name)
        for qemu in list(self.qemus.values()):
            self.lose(qemu)
        self.devices.clear()
        if self.guard is not None:
            self.guard.kill()
        self.guard = self.watchdog = None
        self.lease_ends.forget()
        for number in [number for number, code in self.commands.items() if code is None]:
            del self.commands[number]

    def lose(self, qemu: Qemu) -> None:
        """A QEMU is killed by whatever it was."""
        if qemu.running or qemu.complete:
            self.world.killed.add(qemu.guest.uuid)
        qemu.end()

    def give_power(self) -> None:
        """It boots, and its agent comes with it; not while it is kept off, or is broken."""
        self.power_wanted = self.kept_off
        if not self.powered and not self.kept_off and not self.is_dead:
            self.powered = True
            self.world.fabric.note(self.name)
            self.boots += 1
            self.journal.rebooted(self._boot_id())
            self.start_agent()

    def hit(self, place: str) -> None:
        """The agent is at one of its named places: see agent/failpoints.py."""
        for trap in list(self.traps):
            if trap.place and trap.place != place:
                continue
            trap.left -= 1
            if trap.left <= 0:
                self.traps.remove(trap)
                self.world.say(self.name, f"is at: {place}")
                trap.act()

    def _boot_id(self) -> str:
        return f"{self.name}-boot-{self.boots}"


def guest(
    number: int, name: str, memory_bytes: int, vcpus: int = 1, on_crash: OnCrash | None = None
) -> Guest:
    """As an operator would have it made."""
    uuid = f"00000000-0000-4000-8000-{number:012d}"
    card = Nic("net0", f"52:54:00:00:{number >> 8 & 255:02x}:{number & 255:02x}", bridge="br0")
    return Guest(
        name, uuid, memory_bytes, vcpus, cpu_model=CPU_MODEL, nics=(card,), on_crash=on_crash or OnCrash()
    )
