"""Hosts by the ten thousand: the link of each agent is the real one, what stands behind it is a list of guests.

A move takes as long as its forecast. For questions of scale alone; whether a guest is safe only a whole agent shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from segue.adapters import chance, clock
from segue.adapters.http.access import Caller
from segue.model.answer import Report
from segue.model.fleet import Amounts, FleetGuest, FleetHost
from segue.model.guest import Guest
from segue.model.health import Level
from segue.model.host import HostFacts
from segue.model.lifecycle import Stage
from segue.model.load import HostLoad
from segue.model.migration import Limits, Migration
from segue.model.roster import Decided
from segue.model.trust import SignedBarred
from segue.policy import outlook
from segue.policy.outlook import Basis
from segue.sim.door import Reply
from segue.sim.host import CPU_MODEL
from segue.sim.loop import Process
from segue.sim.world import World
from segue.wire.frames import Shown


@dataclass(eq=False)
class LightHost:
    """Fits `Here` of agent/link.py, and what a line needs of a host."""

    world: World
    name: str
    address: str
    memory_bytes: int
    cpus: int
    others: dict[str, LightHost]
    labels: dict[str, str] = field(default_factory=dict)
    powered: bool = True
    process: Process | None = None
    shown: dict[str, Shown] = field(default_factory=dict)
    moves: dict[str, Migration] = field(default_factory=dict)
    obeyed: int = 0
    beats: int = 0
    heard: Decided | None = None
    belongs: str = ""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()

    def facts(self) -> HostFacts:
        """See Here."""
        used = sum(shown.spec.memory_bytes for shown in self.shown.values())
        return HostFacts(
            name=self.name, instance=self.name, segue_version="simulated", wire_version=2, qemu_version="10.0",
            accelerator="tcg", machines=("pc-q35-10.0",), cpu_models={CPU_MODEL: ()},
            memory_total_bytes=self.memory_bytes, memory_free_bytes=self.memory_bytes - used, cpus=self.cpus,
            bridges=("br0",), guests=(), kernel="6.12",
        )  # fmt: skip

    def guests(self) -> list[Shown]:
        """See Here."""
        return list(self.shown.values())

    def migrations(self) -> list[Migration]:
        """See Here."""
        return list(self.moves.values())

    def load(self) -> HostLoad | None:
        """See Here; nothing is measured."""
        return None

    def barred(self) -> SignedBarred | None:
        """See Here; nobody is barred."""
        return None

    def bar(self, signed: SignedBarred) -> None:
        """See Here; the same."""

    def decided(self) -> Decided | None:
        """See Here."""
        return self.heard

    def keep(self, decided: Decided) -> None:
        """See Here."""
        self.heard = decided

    def fleet(self) -> str:
        """See Here."""
        return self.belongs

    def belong(self, fleet: str) -> None:
        """See Here."""
        self.belongs = fleet

    def foreign(self, url: str, why: str) -> None:
        """See Here; there is one fleet."""

    def epoch(self) -> int:
        """See Here."""
        return self.obeyed

    def obey(self, epoch: int) -> None:
        """See Here."""
        self.obeyed = epoch

    def meet(self, peers: dict[str, str]) -> None:
        """See Here; it knows all others already."""

    async def change(self, within_s: float) -> None:
        """See Here."""
        self.beats += 1
        try:
            async with asyncio.timeout(within_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    def add(self, spec: Guest, epoch: int = 1) -> None:
        """It runs here."""
        self.shown[spec.name] = Shown(spec.name, self.name, "running", "owner", epoch, spec)
        self._changed.set()

    async def answer(
        self, caller: Caller, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        """The one call that a drain makes, and the question how it is: always well."""
        if path == "/v1/health/report":
            return Reply(200, msgspec.json.encode(Report(self.name, Level.HEALTHY, clock.wall_s())))
        name = path.removeprefix("/v1/guests/").removesuffix("/migrations")
        target = self.others[json.loads(body)["to"]]
        made = Migration(chance.new_id(), name, self.name, target.name, Limits(), clock.wall_s())
        self.moves[made.id] = made
        self._changed.set()
        assert self.process is not None
        self.process.start(self.world.loop, self._move(made, target), f"move of {name}")
        return Reply(202, msgspec.json.encode(made))

    async def _move(self, made: Migration, target: LightHost) -> None:
        spec = self.shown[made.guest].spec
        guest = FleetGuest(spec.name, Amounts(spec.memory_bytes, spec.vcpus), dirty_bytes_per_s=5e6)
        host = FleetHost(self.name, self.memory_bytes, self.cpus)
        await asyncio.sleep(outlook.of_move(guest, host, host, Basis()).total_s)
        gone = self.shown.pop(made.guest)
        target.add(gone.spec, gone.epoch + 1)
        self.moves[made.id] = replace(made, stage=Stage.DONE, ended_s=clock.wall_s())
        self._changed.set()
