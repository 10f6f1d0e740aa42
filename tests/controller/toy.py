"""A host without QEMU for tests of the controller: its link is the real one, its API answers as an agent's does.

Its guests are names in a dictionary, and its migrations take as long as the test says.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp.web
import msgspec

from segue.adapters.own_tls import OwnTls
from segue.agent import link
from segue.agent.trust import Trust
from segue.model import trace
from segue.model.answer import Report
from segue.model.guest import Guest
from segue.model.health import Kind, Level
from segue.model.host import HostFacts
from segue.model.incident import Incident, Told
from segue.model.job import Inventory
from segue.model.lifecycle import Stage
from segue.model.load import GuestLoad, HostLoad, Pressure, Smoothed, Use
from segue.model.migration import Failure, Forecast, Limits, Migration
from segue.model.roster import Decided
from segue.model.trust import SignedBarred
from segue.wire.frames import Problem, Shown

GIB = 1 << 30


@dataclass
class World:
    """All toy hosts, by name, as their moves need them."""

    hosts: dict[str, ToyHost] = field(default_factory=dict)
    move_s: float = 0.3
    begun: list[tuple[str, str, str]] = field(default_factory=list)
    """(guest, source, target) of every migration that was ever begun."""
    cores: dict[str, float] = field(default_factory=dict)
    """What each guest uses of a processor, wherever it is."""
    forecasts: dict[str, Forecast] = field(default_factory=dict)
    """What each guest's migrations are to be like."""
    running_at_once: int = 0
    most_at_once: int = 0


class ToyHost:
    """Fits `Here` of agent/link.py, and serves its API on a socket."""

    def __init__(self, world: World, folder: Path, name: str, labels: dict[str, str] | None = None) -> None:
        self.world, self.name, self.labels = world, name, labels or {}
        self.socket = folder / f"{name}.sock"
        self._guests: dict[str, Shown] = {}
        self._migrations: dict[str, Migration] = {}
        self._epoch = 0
        self.epochs: list[int] = []
        self.peers: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._moves: set[asyncio.Task[None]] = set()
        self._runner: aiohttp.web.AppRunner | None = None
        self._link: asyncio.Task[None] | None = None
        self.refuses: set[str] = set()
        self.qemu_is_gone = False
        self.lost = False
        self.belongs = ""
        self.strange = ""
        self.app_runtime = ""
        self.trust: Trust | None = None
        self.kept: Decided | None = None
        self.own: OwnTls | None = None
        self.load_told = 0
        self.health = Report(name, Level.HEALTHY, 0.0)
        self.incidents: list[Told] = []
        world.hosts[name] = self

    # What the link asks

    def facts(self) -> HostFacts:
        promised = sum(g.spec.memory_bytes for g in self._guests.values() if g.state == "running")
        return HostFacts(
            name=self.name, instance=self.name, segue_version="0", wire_version=2, qemu_version="10.0",
            accelerator="tcg", machines=("pc-q35-10.0",), cpu_models={"Nehalem": ()},
            memory_total_bytes=8 * GIB, memory_free_bytes=8 * GIB - promised, cpus=8, bridges=("br0",),
            guests=tuple(self._guests), kernel="6",
            app_runtime=self.app_runtime,
            certificate=self.own.certificate() if self.own else None,
        )  # fmt: skip

    def guests(self) -> list[Shown]:
        return list(self._guests.values())

    def migrations(self) -> list[Migration]:
        return sorted(self._migrations.values(), key=lambda m: -m.started_s)

    def load(self) -> HostLoad | None:
        self.load_told += 1

        def use(cores: float) -> Smoothed:
            return Smoothed(Use(cores), Use(cores), 900.0)

        guests = tuple(
            GuestLoad(g.spec.uuid, g.name, use(self.world.cores.get(g.name, 0.0)), g.spec.memory_bytes // 2)
            for g in self._guests.values()
            if g.state == "running"
        )
        cores = sum(load.use.now.cpu_cores for load in guests)
        return HostLoad(
            self.name, 8, use(cores), 8 * GIB, 4 * GIB, Pressure(cpu=cores / 8), 125_000_000, guests=guests
        )

    def epoch(self) -> int:
        return self._epoch

    def obey(self, epoch: int) -> None:
        self._epoch = epoch
        self.epochs.append(epoch)

    def meet(self, peers: dict[str, str]) -> None:
        self.peers |= peers

    def barred(self) -> SignedBarred | None:
        return self.trust.signed if self.trust else None

    def bar(self, signed: SignedBarred) -> None:
        if self.trust:
            self.trust.take(signed)

    def decided(self) -> Decided | None:
        return self.kept

    def keep(self, decided: Decided) -> None:
        self.kept = decided

    def fleet(self) -> str:
        return self.belongs

    def belong(self, fleet: str) -> None:
        self.belongs = fleet

    def foreign(self, url: str, why: str) -> None:
        self.strange = why

    async def change(self, within_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()
            self._changed.clear()

    # Its life

    async def begin(self, way: link.Way) -> None:
        app = aiohttp.web.Application()
        app.router.add_get("/v1/health/report", self._health)
        app.router.add_get("/v1/inventory", self._inventory)
        app.router.add_get("/v1/incidents/after/{number}", self._incidents)
        app.router.add_post("/v1/guests", self._create)
        app.router.add_post("/v1/apps", self._create)
        app.router.add_post("/v1/guests/{name}/migrations", self._migrate)
        app.router.add_post("/v1/guests/{name}/update", self._update)
        app.router.add_post("/v1/guests/{name}/stop", self._stop)
        app.router.add_post("/v1/migrations/{id}/cancel", self._cancel)
        self.more_routes(app)
        self._runner = aiohttp.web.AppRunner(app)
        await self._runner.setup()
        await aiohttp.web.UnixSite(self._runner, str(self.socket)).start()
        self._link = asyncio.create_task(link.keep(way, self))

    def more_routes(self, app: aiohttp.web.Application) -> None:
        """For hosts that can do more."""

    async def die(self) -> None:
        """As in a power loss: nobody hears of it any more, and what comes to it fails."""
        self.lost = True
        if self._link:
            self._link.cancel()
            await asyncio.wait({self._link})
        for move in list(self._moves):
            move.cancel()
        if self._runner:
            await self._runner.cleanup()

    def add(
        self, name: str, memory_bytes: int = GIB, state: str = "running", *, is_outdated: bool = False
    ) -> None:
        self.add_as(Guest(name, str(uuid.uuid4()), memory_bytes), state, is_outdated=is_outdated)

    def add_as(self, spec: Guest, state: str = "running", *, is_outdated: bool = False) -> None:
        """A guest of any kind."""
        name = spec.name
        self._guests[name] = Shown(
            name, self.name, state, "owner", 1, spec, qemu="10.0", qemu_outdated=is_outdated
        )
        self._changed.set()

    def fails(
        self, rule: str = "memory-burst", kind: Kind = Kind.MEMORY, level: Level = Level.FAILING
    ) -> None:
        """From now on its agent says so."""
        text = f"what {rule} says of {self.name}"
        self.health = Report(self.name, level, 0.0, time.time(), text, rule, kind)

    def tells(self, incident: Incident) -> None:
        """A new one, or a change of one that it told before."""
        number = self.incidents[-1].number + 1 if self.incidents else 1
        kept = [told for told in self.incidents if told.incident.id != incident.id]
        self.incidents = [*kept, Told(number, incident)]

    def names(self) -> list[str]:
        return sorted(self._guests)

    # Its API

    async def _health(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return _json(self.health)

    async def _inventory(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if self.qemu_is_gone:
            return _refusal("this host's QEMU cannot be used")
        return _json(Inventory("boot 1", "6.12", "10.0"))

    async def _incidents(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        after, most = int(request.match_info["number"]), int(request.query["limit"])
        return _json([told for told in self.incidents if told.number > after][:most])

    async def _create(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        wish = await request.json()
        if wish["name"] in self.refuses:
            return _refusal("it does not see the image")
        self.add(wish["name"], wish["memory_bytes"])
        return _json(self._guests[wish["name"]], 201)

    async def _stop(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        name = request.match_info["name"]
        self._guests[name] = replace(self._guests[name], state="stopped")
        self._changed.set()
        return _json(self._guests[name])

    async def _migrate(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        wish = await request.json()
        return self._begin(request, wish["to"])

    async def _update(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        wish = await request.json()
        if request.match_info["name"] in self.refuses and not wish["or_migrate"]:
            return _refusal("its memory is not one that QEMU can hand over")
        return self._begin(request, wish["or_migrate"] or self.name)

    def _begin(self, request: aiohttp.web.Request, to: str) -> aiohttp.web.Response:
        name = request.match_info["name"]
        if any(m.guest == name and not m.ended for m in self._migrations.values()):
            return _refusal("a migration of it is under way")
        if name in self.world.hosts[to].refuses:
            return _refusal("it does not see its disk")
        begun_by = trace.below(request.headers.get(trace.HEADER, ""), uuid.uuid4().hex, uuid.uuid4().hex[:16])
        migration = Migration(str(uuid.uuid4()), name, self.name, to, Limits(), time.time(), trace=begun_by)
        migration = replace(migration, forecast=self.world.forecasts.get(name))
        self._migrations[migration.id] = migration
        self.world.begun.append((name, self.name, to))
        self._changed.set()
        task = asyncio.create_task(self._move(migration))
        self._moves.add(task)
        task.add_done_callback(self._moves.discard)
        return _json(migration, 202)

    async def _move(self, migration: Migration) -> None:
        world, target = self.world, self.world.hosts[migration.target]
        world.running_at_once += 1
        world.most_at_once = max(world.most_at_once, world.running_at_once)
        try:
            await asyncio.sleep(world.move_s)
        finally:
            world.running_at_once -= 1
        if target.lost:
            self._end(migration, Stage.ABORTED, "nothing arrives at the target")
        elif not self._migrations[migration.id].ended:
            gone = self._guests.pop(migration.guest)
            target._guests[migration.guest] = replace(
                gone, host=target.name, epoch=gone.epoch + 1, qemu_outdated=False
            )
            target._changed.set()
            self._end(migration, Stage.DONE)

    async def _cancel(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        migration = self._migrations[request.match_info["id"]]
        self._end(migration, Stage.ABORTED, "the operator took it back")
        return _json(self._migrations[migration.id], 202)

    def _end(self, migration: Migration, stage: Stage, why: str = "") -> None:
        failure = Failure("aborted", f"{migration.guest} was not moved", why, "Try again.") if why else None
        outcome = migration.outcome
        if stage is Stage.DONE:
            outcome = replace(outcome, resumed_at_s=time.time(), blackout_s=0.01)
        ended = replace(migration, stage=stage, ended_s=time.time(), failure=failure, outcome=outcome)
        self._migrations[migration.id] = ended
        self._changed.set()


def _json(body: Any, status: int = 200) -> aiohttp.web.Response:
    return aiohttp.web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def _refusal(why: str) -> aiohttp.web.Response:
    return _json(Problem(422, "refused", "policy", "it cannot be done", why, "Choose another host."), 422)
