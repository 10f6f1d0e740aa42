"""Notices that a host is lost, asks for second opinions, takes its power away, and has its guests taken over.

It must never let a guest be taken over without a proof that is in the store, and never fence a host that anybody sees.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
import structlog

from segue.adapters import chance, clock
from segue.controller import fleet, homecomers, leases, losses, off, successions, works
from segue.controller.app import Controller
from segue.errors import SegueError
from segue.model import store as nouns
from segue.model.crash import Cause
from segue.model.fencing import Death, Power, Proof, ProofKind, Sight
from segue.model.incident import Evidence, Hit, Incident
from segue.model.leadership import Tenure
from segue.policy import hostloss
from segue.policy.hostloss import LOST_S, Loss, Word
from segue.wire.frames import Shown

log = structlog.get_logger()
LOOK_S: Final = 0.5
IMPATIENT_S: Final = 10.0
"""A BMC that takes longer is told of."""
AGAIN_S: Final = 5.0
"""Between two tries to fence a host, and to find room for a guest."""
SOON_S: Final = 1.0
"""The same for a guest while agents still connect to a new leader: all of them must be heard before it goes on."""
ALONE_S: Final = 0.2
"""Until the first of them has come nobody can be asked."""
SUSPECT_S: Final = 3.0
"""Silent for longer than a beat and what delays one: others are asked, so that their word is here at `LOST_S`."""
TOLD_S: Final = 30.0
"""A host that is held, not fenced, becomes an incident after this: an agent that is restarted is none."""


async def keep(controller: Controller, tenure: Tenure) -> None:
    """For as long as the tenure lasts. It begins before the hosts have connected again: one that has not is left alone
    for as long as anybody sees it, and nothing is done while nobody else could be asked."""
    watch, tending = Watch(controller, tenure), dict[str, asyncio.Task[None]]()
    home = asyncio.create_task(_bring_home(controller))
    try:
        while True:
            silences = watch.silences_s(SUSPECT_S)
            for host in sorted(silences.keys() | controller.mirror.deaths.items().keys()):
                if host not in tending or tending[host].done():
                    tending[host] = asyncio.create_task(watch.tend(host, silences.get(host)))
            await asyncio.sleep(LOOK_S)
    finally:
        for task in (home, *tending.values()):
            task.cancel()


async def _bring_home(controller: Controller) -> None:
    """For as long as the tenure lasts."""
    while True:
        await asyncio.sleep(AGAIN_S)
        try:
            await homecomers.settle(controller)
        except SegueError as error:
            log.warning("guests wait on their hosts", why=str(error))


class Watch:
    """For one tenure: since when each host is silent, and what is done about it."""

    def __init__(self, controller: Controller, tenure: Tenure) -> None:
        self._controller = controller
        self._tenure = tenure
        self._since_s: dict[str, float] = {}
        self._begun_s = clock.steady_s()
        self._power = Foreknown(controller)

    def silences_s(self, least_s: float = LOST_S) -> dict[str, float]:
        """Hosts of the fleet that gave no sign of life for so long, and for how long by our own clock."""
        mirror, now_s = self._controller.mirror, clock.steady_s()
        heard = self._controller.links.silences_s()
        for host in mirror.reports.items():
            if host in heard or fleet.is_revoked(mirror, host):
                self._since_s[host] = now_s - heard.get(host, 0.0)
            else:
                self._since_s.setdefault(host, now_s)
        return {host: now_s - at for host, at in self._since_s.items() if now_s - at >= least_s}

    async def tend(self, host: str, silent_s: float | None) -> None:
        """One look at it, and what follows. silent_s: None for one that is not, or not yet by our own clock:
        a leader before us knew more, so only a host that is connected is back."""
        is_back = silent_s is None and host in self._controller.links.linked()
        try:
            pause_s = await (self._back(host) if is_back else self._lost(host, silent_s or 0.0))
        except SegueError as error:
            log.warning("a lost host is looked at again", host=host, why=str(error))
            pause_s = AGAIN_S
        await asyncio.sleep(pause_s)

    async def _lost(self, host: str, silent_s: float) -> float:
        death = self._known(host)
        if death is None or death.proof is None:
            if death is not None:
                self._power.ask(host)
            if silent_s < TOLD_S and not self._controller.links.linked() - {host}:
                return ALONE_S
            before = self._together()
            seen = await off.sights(self._controller, host)
            if Sight.ANSWERS not in seen.values():
                self._power.ask(host)
            if death is None:
                silent_s = await self._still_silent_s(host, seen)
            is_off = self._is_spare(host) and await self._power.says_off(host)
            word, why = hostloss.judge(
                self._loss(host, max(silent_s, LOST_S if death else 0.0), seen, before, is_off=is_off)
            )
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

    async def _still_silent_s(self, host: str, seen: dict[str, Sight]) -> float:
        """After the others were asked; waits for `LOST_S` where nobody sees it."""
        silent_s = self.silences_s(0.0).get(host, 0.0)
        if silent_s < SUSPECT_S or Sight.ANSWERS in seen.values():
            return silent_s
        await asyncio.sleep(max(0.0, LOST_S - silent_s))
        return self.silences_s(0.0).get(host, 0.0)

    def _together(self) -> set[str]:
        """Hosts that are lost, or may have fallen silent with one that is."""
        return set(self.silences_s(hostloss.TOGETHER_S))

    def _loss(
        self, host: str, silent_s: float, seen: dict[str, Sight], before: set[str], *, is_off: bool
    ) -> Loss:
        """before: what was lost when the others were asked. One of them that is back since says that the network is,
        too, and that their answers are old."""
        mirror = self._controller.mirror
        fleet_ = [name for name in mirror.reports.items() if not fleet.is_revoked(mirror, name)]
        spare = self._is_spare(host)
        # Where it is fenced for the sake of others alone, those without guests count, too: they would follow it.
        lost = {
            name for name in before | self._together() if name in fleet_ and (spare or self._guests(name))
        }
        lost |= {host}
        lost -= {name for name, kept in mirror.deaths.items().items() if kept.value.proof and name != host}
        upkeep = host in works.may_be_back(mirror)
        return Loss(silent_s, len(self._guests(host)), seen, len(lost), len(fleet_), upkeep, spare, is_off)

    def _is_spare(self, host: str) -> bool:
        """Nothing is to be saved there, and others wait for its word."""
        return not self._guests(host) and self._is_awaited(host)

    def _is_awaited(self, host: str) -> bool:
        """Guests of hosts that have no power cannot be taken over, or others not start at home, before it was heard."""
        mirror = self._controller.mirror
        for death in mirror.deaths.values():
            kept = mirror.incidents.get(death.incident)
            has_died = death.host != host and death.proof is not None and death.proof.of_power
            if has_died and kept and any(not hit.back_s for hit in kept.value.hits):
                return True
        return bool(homecomers.waiting(self._controller))

    def _guests(self, host: str) -> list[Shown]:
        return successions.missed(self._controller.mirror, host)

    async def _begin(self, host: str, silent_s: float, why: str, seen: dict[str, Sight]) -> Death:
        """The record, and the incident that people read."""
        at_s, mirror = clock.wall_s() - silent_s, self._controller.mirror
        hits = tuple(Hit(shown.name, shown.spec.uuid, at_s) for shown in self._guests(host))
        told = Evidence(
            "what others see of it", "\n".join(f"{who}: {what}" for who, what in sorted(seen.items()))
        )
        said = [one.text for one in fleet.reports(mirror) if one.host == host and one.text]
        words = Evidence("its last report of its health", "\n".join(said)) if said else None
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
        """Takes its power away, and the lease of its guests at the same time; whichever proves first. Where neither
        does nothing restarts."""
        ways = [self._take_power(death.host, why)]
        if leases.is_held(self._controller, self._tenure, death.host):
            ways.append(leases.outlast(self._controller, death, lambda: self._is_heard(death.host)))
        waiting = asyncio.create_task(self._tell_that_it_takes_long(death.host, len(ways)))
        failed: list[str] = []
        try:
            proof = await losses.first_proof(
                death.host, *ways, failed=failed, meanwhile=self._said(death.host)
            )
        except SegueError as error:
            todo = f"Nothing restarts. Once you know that it is off: `segue host confirm-dead {death.host}`."
            text = f"{error.what}: {error.why}. {todo}"
            await losses.note(self._controller, self._tenure, death.host, text)
            return self._known(death.host) or death
        finally:
            waiting.cancel()
        known = self._known(death.host)
        if known is not None and known.proof is not None:
            return known
        if failed:
            said = f"not every way to fence it works: {'; '.join(failed)}"
            await losses.note(self._controller, self._tenure, death.host, said)
        return await losses.prove(self._controller, self._tenure, death, proof)

    async def _tell_that_it_takes_long(self, host: str, ways: int) -> None:
        """What is waited for, where a BMC lets us wait and there is no lease, whose time is known."""
        await asyncio.sleep(IMPATIENT_S)
        if ways == 1:
            todo = f"Nothing restarts. Once you know that it is off: `segue host confirm-dead {host}`."
            text = f"its BMC is asked, and has not come to an end for {IMPATIENT_S:g} s. {todo}"
            with contextlib.suppress(SegueError):
                await losses.note(self._controller, self._tenure, host, text)

    async def _said(self, host: str) -> Proof:
        """By a person, while a BMC hangs."""
        while (known := self._known(host)) is None or known.proof is None:
            await asyncio.sleep(LOOK_S)
        return known.proof

    def _is_heard(self, host: str) -> bool:
        """It said something a moment ago: a connection that is only not given up yet says nothing."""
        heard = self._controller.links.silences_s()
        return host in heard and heard[host] < LOST_S

    async def _take_power(self, host: str, why: str) -> Proof:
        """Raises Refused."""
        powers = self._controller.powers
        if not powers.may_fence(host):
            raise losses.refused(f"{host} is not fenced", "its BMC is not for that (fence = false)")
        stays_off = await self._power.stays_off(host)
        by, text = powers.bmc(host).url, "its BMC says that it is off"
        if stays_off and self._is_spare(host):  # It may just be switched on: no order is given without need.
            return Proof(ProofKind.BMC_OFF, host, clock.wall_s(), by, f"{text}, and nobody told it to be")
        log.warning("a host is fenced", host=host, why=why)
        steady = {"steady_s": 0.0} if stays_off else {}
        if await powers.of(host).off(off.FENCE_S, **steady) is not Power.OFF:
            raise losses.refused(f"{host} is not fenced", f"after {off.FENCE_S:g} s its BMC does not say off")
        return Proof(ProofKind.BMC_OFF, host, clock.wall_s(), by, text)

    async def _save(self, death: Death) -> float:
        left = await self._heirs(death).settle()
        is_new = clock.steady_s() - self._begun_s < TOLD_S
        return LOOK_S if not left else SOON_S if is_new else AGAIN_S

    def _heirs(self, death: Death) -> successions.Successions:
        return successions.Successions(self._controller, self._tenure, death)

    async def _back(self, host: str) -> float:
        """A takeover that was begun is carried to its end first: its heir may hold it already."""
        death, mirror = self._known(host), self._controller.mirror
        if death is None:
            return LOOK_S
        if death.proof is not None and await self._heirs(death).close():
            return SOON_S
        await self._controller.books.remove(mirror.deaths, host, fence=self._tenure.fence)
        await losses.end(self._controller, self._tenure, death, f"{host} is back")
        await leases.allow(self._controller, death)
        return LOOK_S

    def _known(self, host: str) -> Death | None:
        kept = self._controller.mirror.deaths.get(host)
        return kept.value if kept else None


class Foreknown:
    """What BMCs say of hosts that nobody sees, asked while others are still asked. No order is given here."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._asked: dict[str, asyncio.Task[float]] = {}

    def ask(self, host: str) -> None:
        """Unless it is being asked, or was a moment ago."""
        known = self._asked.get(host)
        if known is None or (known.done() and clock.steady_s() - known.result() > AGAIN_S):
            self._asked[host] = asyncio.create_task(self._look(host))

    async def _look(self, host: str) -> float:
        """When it had stayed off for a while; 0 where that is not known."""
        try:
            return clock.steady_s() if await self._controller.powers.of(host).stays_off() else 0.0
        except SegueError:
            return 0.0

    async def stays_off(self, host: str) -> bool:
        """By its BMC's word of the last seconds, which counts once."""
        said = await self.says_off(host)
        self._asked.pop(host, None)
        return said

    async def says_off(self, host: str) -> bool:
        """The same, as often as it is asked."""
        known = self._asked.get(host)
        if known is None:
            return False
        await asyncio.wait(
            {known}, timeout=AGAIN_S
        )  # One that hangs will do so again when it is given an order.
        return known.done() and known.result() > 0.0 and clock.steady_s() - known.result() < AGAIN_S
