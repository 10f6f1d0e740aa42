"""Sensors of a simulated host, read and judged by the real watch: what they say may be true, or a lie."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from segue.engine.clock import Clock
from segue.engine.watch import Ears, Kept, Traffic, Watch
from segue.model.health import Kind, Measure, Part, Reading, Rule, Sample
from segue.sim.host import SimHost

EVERY_S: Final = 4.0
PART: Final = Part(Kind.MEMORY, "DIMM1")
RULES: Final = (
    Rule("sim.errors", Kind.MEMORY, "errors", Measure.STEADY, "errors", 0.0, suspect=1.0, failing=2.0),
)


@dataclass(eq=False)
class Sensor:
    """Fits `Probe` of engine/watch.py."""

    host: SimHost
    name: str = "sensor"
    every_s: float = EVERY_S
    heavy: bool = False

    def look(self) -> Sample:
        """See Probe."""
        return Sample(self.name, (Reading(PART, "errors", self.host.errors, "sensor"),))


class MemoryShelf:
    """Fits `Shelf`: a disk of the host, which outlives its agent."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    def load(self) -> tuple[Kept, str]:
        """See Shelf."""
        return self._host.health_kept or Kept(), ""

    def save(self, kept: Kept) -> str:
        """See Shelf."""
        self._host.health_kept = kept
        return ""


def watch(host: SimHost, boot: str, clock: Clock) -> Watch:
    """The real one. Hosts whose sensors say nothing in the whole rehearsal have none."""
    ears = Ears(lambda: Traffic.CALM, lambda seen: None, lambda late_s: None)
    probes = (Sensor(host),) if host.has_sensors else ()
    return Watch(host.name, boot, probes, RULES, MemoryShelf(host), clock, ears)


async def keep(host: SimHost, seen: Watch) -> None:
    """For as long as the agent lives."""
    if host.has_sensors:
        await seen.run()
    await asyncio.get_running_loop().create_future()
