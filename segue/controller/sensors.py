"""Watches hosts' power supplies, fans and temperatures through their BMCs, and judges them as an agent judges the rest.

It must never hold it against a host that its BMC does not answer.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

import structlog

from segue.adapters import clock
from segue.controller import fleet
from segue.controller.app import Controller
from segue.engine.watch import Ears, Kept, Traffic, Watch
from segue.errors import Refused, SegueError
from segue.model.answer import Sensed
from segue.model.health import Blind, Health, Memory, Sample
from segue.model.leadership import Tenure
from segue.policy import answer

log = structlog.get_logger()
LOOK_S: Final = 5.0
AGAIN_S: Final = 240.0
"""What has not changed is written again so often: a report is old after ten minutes."""
AT_ONCE: Final = 8
PROBE: Final = "bmc"


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts."""
    eyes: dict[str, Eye] = {}
    wanted: set[str] = set()
    gate = asyncio.Semaphore(AT_ONCE)

    async def look(host: str) -> None:
        async with gate:
            try:
                await eyes[host].look()
            except SegueError as error:
                log.warning("what a BMC says is kept later", host=host, why=str(error))

    while True:
        if (named := controller.powers.hosts()) is not None:
            wanted = {host for host in named if not fleet.is_revoked(controller.mirror, host)}
            wanted &= controller.mirror.reports.items().keys()
            for host in wanted - eyes.keys():
                eyes[host] = Eye(controller, tenure, host)
            await _forget(controller, tenure, wanted)
        await asyncio.gather(*(look(host) for host in sorted(eyes.keys() & wanted)))
        await asyncio.sleep(LOOK_S)


async def _forget(controller: Controller, tenure: Tenure, wanted: set[str]) -> None:
    """Of a host without a BMC nobody says anything any more."""
    table = controller.mirror.sensors
    for host in sorted(table.items().keys() - wanted):
        try:
            await controller.books.remove(table, host, fence=tenure.fence)
        except SegueError as error:
            log.warning("what a BMC said is forgotten later", host=host, why=str(error))


class Look:
    """Engine port `Probe`. The file of BMCs is read for each look: what is corrected there counts at once."""

    name = PROBE
    every_s = 30.0
    heavy = False

    def __init__(self, controller: Controller, host: str) -> None:
        self._controller = controller
        self._host = host
        self.seen_s = 0.0

    def look(self) -> Sample:
        """See Probe."""
        try:
            found = self._controller.powers.sensors(self._host).look()
        except Refused as error:
            return Sample(PROBE, (), (Blind(PROBE, self._host, error.why),))
        if found.readings:
            self.seen_s = clock.wall_s()
        return found


class Shelf:
    """Engine port `Shelf`: what the store has of an earlier leader's verdicts; what is new is written by the eye."""

    def __init__(self, memory: Memory) -> None:
        self.kept = Kept(memory=memory)

    def load(self) -> tuple[Kept, str]:
        """See Shelf."""
        return self.kept, ""

    def save(self, kept: Kept) -> str:
        """See Shelf."""
        self.kept = kept
        return ""


class Eye:
    """One host in one tenure."""

    def __init__(self, controller: Controller, tenure: Tenure, host: str) -> None:
        self._controller = controller
        self._tenure = tenure
        self._host = host
        known = self._known()
        self._probe = Look(controller, host)
        self._shelf = Shelf(known.memory if known else Memory())
        self._changed = known is None
        ears = Ears(lambda: Traffic.CALM, self._hear, lambda _: None)
        rules = controller.sensor_rules
        self._watch = Watch(host, "", (self._probe,), rules, self._shelf, clock.RealClock(), ears)

    async def look(self) -> None:
        """If it is time; and what is new is written."""
        await self._watch.round()
        known, now_s = self._known(), clock.wall_s()
        for part in known.mended if known else ():
            await self._mend(part)
        is_new = known is None or bool(known.mended) or self._changed
        is_old = known is not None and self._probe.seen_s > known.at_s and now_s - known.at_s >= AGAIN_S
        if self._probe.seen_s and (is_new or is_old):
            await self._write()

    def _hear(self, seen: Health) -> None:
        log.warning("a BMC says", host=self._host, level=seen.level, why=seen.text)
        self._changed = True

    async def _mend(self, part: str) -> None:
        try:
            await self._watch.rectified(part)
        except Refused as error:
            log.info("nothing is known of that part", host=self._host, part=part, why=error.why)

    async def _write(self) -> None:
        books, table = self._controller.books, self._controller.mirror.sensors
        shown, at_s = self._watch.shown(), self._probe.seen_s
        report = replace(answer.report(shown), at_s=at_s)
        made = Sensed(self._host, at_s, report, shown, self._shelf.kept.memory)
        if self._known() is None:
            await books.add(table, self._host, made, fence=self._tenure.fence)
        else:
            await books.change(table, self._host, lambda _: made, fence=self._tenure.fence)
        self._changed = False

    def _known(self) -> Sensed | None:
        kept = self._controller.mirror.sensors.get(self._host)
        return kept.value if kept else None
