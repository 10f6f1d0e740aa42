"""Watches a host's health: looks by a schedule, has the policy judge, keeps what it needs after a restart.

It must never look while a guest stands still: a look takes milliseconds of the processor that the blackout needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol

from segue.engine.clock import Clock
from segue.errors import Kind, Refused
from segue.model.health import Blind, Health, History, Level, Memory, Rule, Sample
from segue.policy import health, health_series

LATE_MOST_S: Final = 120.0
"""So long a look is put off for migrations that go on; then it is done between two blackouts of them."""
AGAIN_S: Final = 1.0
HANGS_S: Final = 60.0
"""A look that takes longer is not waited for; the probe is asked again once it has come back."""
SAVE_S: Final = 300.0


class Traffic(Enum):
    """What guests do on this host: nothing, move, or stand still in a blackout."""

    CALM = 0
    MOVING = 1
    BLACKOUT = 2


class Probe(Protocol):
    """Looks at one sort of parts. `look` may block, never raises, and says what it could not see."""

    @property
    def name(self) -> str: ...
    @property
    def every_s(self) -> float: ...
    @property
    def heavy(self) -> bool:
        """It starts programs or writes to disks: it waits until no guest moves."""
        ...

    def look(self) -> Sample: ...


@dataclass(frozen=True)
class Kept:
    """What outlives the agent."""

    history: History = field(default_factory=History)
    memory: Memory = field(default_factory=Memory)


class Shelf(Protocol):
    """Where it is kept. A damaged one is empty, and says so."""

    def load(self) -> tuple[Kept, str]:
        """What was kept, and why it could not be read; empty where it could."""
        ...

    def save(self, kept: Kept) -> str:
        """Why it could not be kept; empty where it was."""
        ...


Told = Callable[[Health], None]


@dataclass(frozen=True)
class Ears:
    """Whom the watch asks and tells. `late` hears by how much a rest was too long."""

    traffic: Callable[[], Traffic]
    changed: Told
    late: Callable[[float], None]


class Watch:
    """One host."""

    def __init__(
        self,
        host: str,
        boot: str,
        probes: Sequence[Probe],
        rules: Sequence[Rule],
        shelf: Shelf,
        clock: Clock,
        ears: Ears,
        every_s: float = 0.0,
    ) -> None:
        """every_s: light probes look so often at least; 0: by their own schedule."""
        self._host = host
        self._boot = boot
        self._probes = {probe.name: probe for probe in probes}
        self._rules = tuple(rules)
        self._spans = health.spans(rules)
        self._shelf = shelf
        self._clock = clock
        self._ears = ears
        self._every_s = every_s or float("inf")
        self._kept, fault = shelf.load()
        self._faults = {"load": fault}
        self._due_s = dict.fromkeys(self._probes, 0.0)
        self._hanging: dict[str, asyncio.Future[Sample]] = {}
        self._judging = asyncio.Lock()
        """What a person says must not be overwritten by a verdict that was begun before."""
        self._unjudged = False
        self._saved_s = clock.steady_s()
        self.now = self._judged()

    async def run(self) -> None:
        """For as long as the agent lives."""
        while True:
            await self.round()
            soonest_s = min(self._due_s.values(), default=self._clock.steady_s() + AGAIN_S)
            await self._rest(max(AGAIN_S, soonest_s - self._clock.steady_s()))

    async def round(self) -> None:
        """Every look that is due and may be done now, and a verdict from them."""
        now_s = self._clock.steady_s()
        looked = False
        self._take_late()
        for probe in self._probes.values():
            if self._may_look(probe, now_s):
                await self._look(probe)
                looked = True
        self._unjudged |= looked
        if self._unjudged and self._ears.traffic() is not Traffic.BLACKOUT:
            before = self.now
            async with self._judging:
                self._kept, self.now = await asyncio.to_thread(self._judge)
                self._unjudged = False
            if _levels(before) != _levels(self.now):
                self._ears.changed(self.now)
                await self._save()
        if self._clock.steady_s() - self._saved_s >= SAVE_S and self._ears.traffic() is Traffic.CALM:
            await self._save()

    def _may_look(self, probe: Probe, now_s: float) -> bool:
        late_s = now_s - self._due_s[probe.name]
        traffic = self._ears.traffic()
        if late_s < 0 or traffic is Traffic.BLACKOUT or self._hangs(probe.name):
            return False
        return traffic is Traffic.CALM or (late_s > LATE_MOST_S and not probe.heavy)

    def _hangs(self, name: str) -> bool:
        return name in self._hanging

    def _take_late(self) -> None:
        """Looks that took longer than they were waited for: forty disks, one after the other. They count as well."""
        for name in [name for name, looking in self._hanging.items() if looking.done()]:
            self._add(self._hanging.pop(name).result())
            self._unjudged = True

    async def _look(self, probe: Probe) -> None:
        """In a thread of its own: sysfs may make a reader wait."""
        every_s = probe.every_s if probe.heavy else min(probe.every_s, self._every_s)
        self._due_s[probe.name] = self._clock.steady_s() + every_s
        looking = asyncio.ensure_future(asyncio.to_thread(probe.look))
        done, _ = await asyncio.wait({looking}, timeout=HANGS_S)
        if not done:
            self._hanging[probe.name] = looking
            blind = Blind(probe.name, probe.name, f"its look has not come back for {HANGS_S:.0f} s")
            self._add(Sample(probe.name, (), (blind,)))
            return
        self._add(looking.result())

    def _add(self, sample: Sample) -> None:
        at_s = self._clock.wall_s()
        history = health_series.add(self._kept.history, sample, at_s, self._boot, self._spans)
        self._kept = Kept(history, self._kept.memory)

    def _judge(self) -> tuple[Kept, Health]:
        history, now_s = self._kept.history, self._clock.wall_s()
        memory, verdicts = health.judge(self._rules, history, self._kept.memory, now_s)
        return Kept(history, memory), health.of_host(self._host, verdicts, history, memory, now_s)

    def _judged(self) -> Health:
        self._kept, now = self._judge()
        return now

    def shown(self) -> Health:
        """The last verdict, and what the watch itself could not do."""
        faults = tuple(Blind("watch", what, why) for what, why in self._faults.items() if why)
        return Health(
            self.now.host,
            self.now.level,
            self.now.at_s,
            self.now.text,
            self.now.parts,
            (*self.now.blind, *faults),
            self.now.incidents,
        )

    async def rectified(self, part: str) -> Health:
        """A person says that the part was mended, replaced or taken out: it begins anew. Raises Refused."""
        if all(series.part.key != part for series in self._kept.history.series.values()):
            raise Refused(
                what=f"there is no part {part} on {self._host}",
                why="no probe has ever seen it",
                todo=f"`segue host health {self._host} --all` shows all parts.",
                kind=Kind.NOT_FOUND,
            )
        async with self._judging:
            memory = health.forget(self._kept.memory, part, self._clock.wall_s())
            self._kept = Kept(health_series.forget(self._kept.history, part), memory)
            self.now = self._judged()
        for name in self._probes:
            self._due_s[name] = min(self._due_s[name], self._clock.steady_s())
        self._ears.changed(self.now)
        await self._save()
        return self.shown()

    async def _save(self) -> None:
        self._saved_s = self._clock.steady_s()
        self._faults = {"save": await asyncio.to_thread(self._shelf.save, self._kept)}

    async def _rest(self, seconds: float) -> None:
        begun_s = self._clock.steady_s()
        await self._clock.rest(seconds)
        self._ears.late(max(0.0, self._clock.steady_s() - begun_s - seconds))


def _levels(seen: Health) -> tuple[Level, tuple[tuple[str, Level], ...]]:
    return seen.level, tuple(
        (part.part, part.level) for part in seen.parts if part.level is not Level.HEALTHY
    )
