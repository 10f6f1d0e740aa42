"""Notices that a host is lost, asks for second opinions, takes its power away, and has its guests taken over.

It must never let a guest be taken over without a proof that is in the store, and never fence a host that anybody sees.
"""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec
import structlog

from segue.adapters import chance, clock, sight
from segue.controller import fleet, losses, successions, works
from segue.controller.app import Controller
from segue.errors import SegueError
from segue.model import store as nouns
from segue.model.crash import Cause
from segue.model.fencing import Death, Power, Proof, ProofKind, Sight
from segue.model.incident import Evidence, Hit, Incident
from segue.model.leadership import Tenure
from segue.policy import hostloss
from segue.policy.hostloss import Loss, Word
from segue.wire.frames import Shown

log = structlog.get_logger()
LOOK_S: Final = 0.5
SIGHT_S: Final = 2.5
FENCE_S: Final = 20.0
AGAIN_S: Final = 5.0
"""Between two tries to fence a host, and to find room for a guest."""
TOLD_S: Final = 30.0
"""A host that is held, not fenced, becomes an incident after this: an agent that is restarted is none."""
RUNS: Final = frozenset({"running", "paused"})


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts, once the hosts have had time to connect."""
    watch, tending = Watch(controller, tenure), dict[str, asyncio.Task[None]]()
    try:
        while True:
            silences = watch.silences_s()
            for host in sorted(silences.keys() | controller.mirror.deaths.items().keys()):
                if host not in tending or tending[host].done():
                    tending[host] = asyncio.create_task(watch.tend(host, silences.get(host)))
            await asyncio.sleep(LOOK_S)
    finally:
        for task in tending.values():
            task.cancel()


async def sights(controller: Controller, host: str) -> dict[str, Sight]:
    """What all others that can be asked see of it, and what we see; who does not answer has no opinion."""
    report = controller.mirror.reports.get(host)
    found: dict[str, Sight] = {}

    async def ask(other: str) -> None:
        try:
            path = f"/v1/sights/{host}"
            told = await controller.links.call(other, "GET", path, within_s=SIGHT_S)
            found[other] = Sight(told["sight"])
        except (SegueError, KeyError, ValueError) as error:
            log.info("no second opinion", of=other, about=host, why=str(error))

    async def ask_ourselves() -> None:
        if report is not None:
            found[hostloss.CONTROLLER] = await sight.look(report.value.url)

    await asyncio.gather(
        ask_ourselves(), *(ask(other) for other in sorted(controller.links.linked() - {host}))
    )
    return found


class Watch:
    """For one tenure: since when each host is silent, and what is done about it."""

    def __init__(self, controller: Controller, tenure: Tenure) -> None:
        self._controller = controller
        self._tenure = tenure
        self._since_s: dict[str, float] = {}

    def silences_s(self) -> dict[str, float]:
        """Hosts of the fleet that gave no sign of life lately, and for how long by our own clock."""
        mirror, now_s = self._controller.mirror, clock.steady_s()
        heard = self._controller.links.silences_s()
        for host in mirror.reports.items():
            if host in heard or fleet.is_revoked(mirror, host):
                self._since_s[host] = now_s - heard.get(host, 0.0)
            else:
                self._since_s.setdefault(host, now_s)
        return {host: now_s - at for host, at in self._since_s.items() if now_s - at >= hostloss.LOST_S}

    async def tend(self, host: str, silent_s: float | None) -> None:
        """One look at it, and what follows. silent_s: None for one that is not, or not yet by our own clock:
        a leader before us knew more, so only a host that is connected is back."""
        is_back = silent_s is None and host in self._controller.links.linked()
        try:
            pause_s = await (self._back(host) if is_back else self._lost(host, silent_s or hostloss.LOST_S))
        except SegueError as error:
            log.warning("a lost host is looked at again", host=host, why=str(error))
            pause_s = AGAIN_S
        await asyncio.sleep(pause_s)

    async def _lost(self, host: str, silent_s: float) -> float:
        death = self._known(host)
        if death is None or death.proof is None:
            seen = await sights(self._controller, host)
            word, why = hostloss.judge(self._loss(host, silent_s, seen))
            if silent_s > TOLD_S:
                await losses.end_moves(self._controller, self._tenure, host, is_dead=False)
            if word in {Word.NOTHING, Word.WAIT} or (word is Word.HOLD and silent_s < TOLD_S):
                return LOOK_S
            death = death or await self._begin(host, silent_s, why, seen)
            if word is Word.HOLD:
                await losses.note(self._controller, self._tenure, host, f"it is left alone: {why}")
                return AGAIN_S
            death = await self._fence(death, why)
        return AGAIN_S if death.proof is None else await self._save(death)

    def _loss(self, host: str, silent_s: float, seen: dict[str, Sight]) -> Loss:
        mirror = self._controller.mirror
        fleet_ = [name for name in mirror.reports.items() if not fleet.is_revoked(mirror, name)]
        lost = {name for name in self.silences_s() if name in fleet_ and self._guests(name)} | {host}
        lost -= {name for name, kept in mirror.deaths.items().items() if kept.value.proof and name != host}
        upkeep = host in works.may_be_back(mirror)
        return Loss(silent_s, len(self._guests(host)), seen, len(lost), len(fleet_), upkeep)

    def _guests(self, host: str) -> list[Shown]:
        return [shown for shown in successions.hit(self._controller.mirror, host) if shown.state in RUNS]

    async def _begin(self, host: str, silent_s: float, why: str, seen: dict[str, Sight]) -> Death:
        """The record, and the incident that people read."""
        at_s, mirror = clock.wall_s() - silent_s, self._controller.mirror
        hits = tuple(Hit(shown.name, shown.spec.uuid, at_s) for shown in self._guests(host))
        told = Evidence(
            "what others see of it", "\n".join(f"{who}: {what}" for who, what in sorted(seen.items()))
        )
        health = mirror.health.get(host)
        words = (
            Evidence("its last report of its health", health.value.text)
            if health and health.value.text
            else None
        )
        incident = Incident(
            chance.new_id(), host, Cause.HOST_LOST, at_s, f"{host} is lost: {why}", hits,
            tuple(filter(None, (told, words))),
        )  # fmt: skip
        death = Death(host, at_s, incident.id)
        # In one commit: a leader that died between the two would leave an incident that nobody ends.
        revision = await self._controller.store.commit(
            nouns.create(mirror.incidents.key(incident.id), msgspec.json.encode(incident)),
            nouns.create(mirror.deaths.key(host), msgspec.json.encode(death)),
            fence=self._tenure.fence,
        )
        await mirror.reached(revision)
        log.error("a host is lost", host=host, why=why, guests=len(hits), incident=incident.id)
        return death

    async def _fence(self, death: Death, why: str) -> Death:
        """Takes its power away. Raises Refused where it cannot be done: then nothing restarts."""
        powers, host = self._controller.powers, death.host
        try:
            if not powers.may_fence(host):
                raise losses.refused(f"{host} is not fenced", "its BMC is not for that (fence = false)")
            log.warning("a host is fenced", host=host, why=why)
            if await powers.of(host).off(FENCE_S) is not Power.OFF:
                raise losses.refused(f"{host} is not fenced", f"after {FENCE_S:g} s its BMC does not say off")
        except SegueError as error:
            todo = f"Nothing restarts. Once you know that it is off: `segue host confirm-dead {host}`."
            await losses.note(self._controller, self._tenure, host, f"{error.what}: {error.why}. {todo}")
            return death
        proof = Proof(
            ProofKind.BMC_OFF, host, clock.wall_s(), powers.bmc(host).url, "its BMC says that it is off"
        )
        return await losses.prove(self._controller, self._tenure, death, proof)

    async def _save(self, death: Death) -> float:
        heirs = successions.Successions(
            self._controller, self._tenure, death, lambda: self._demand_off(death)
        )
        left = await heirs.settle()
        return AGAIN_S if left else LOOK_S

    async def _demand_off(self, death: Death) -> None:
        """Once more, after an heir's journal has it: whatever ran there in between is gone. Raises Refused."""
        assert death.proof is not None
        host, powers = death.host, self._controller.powers
        try:
            bmc = powers.of(host)
            is_off = await bmc.power() is Power.OFF
            is_off = is_off or (powers.may_fence(host) and await bmc.off(FENCE_S) is Power.OFF)
        except SegueError:
            if death.proof.kind is not ProofKind.PERSON:
                raise
            seen = await sights(self._controller, host)
            is_off = host not in self._controller.links.linked() and Sight.ANSWERS not in seen.values()
        if not is_off:
            raise losses.refused(f"{host} is not off", "it lives, whatever was said of it: switch it off")

    async def _back(self, host: str) -> float:
        """A takeover that was begun is carried to its end first: its heir may hold it already."""
        death, mirror = self._known(host), self._controller.mirror
        if death is None:
            return LOOK_S
        begun = [s for s in mirror.successions.values() if s.owner == host and not s.ended_s]
        if death.proof is not None and begun:
            return await self._save(death)
        await self._controller.books.remove(mirror.deaths, host, fence=self._tenure.fence)
        await losses.end(self._controller, self._tenure, death, f"{host} is back")
        return LOOK_S

    def _known(self, host: str) -> Death | None:
        kept = self._controller.mirror.deaths.get(host)
        return kept.value if kept else None
