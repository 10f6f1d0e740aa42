"""Guests that crashed on this host: each has an incident in the journal before anything is done about it.

It must never start a guest that its host does not own, and never one whose old QEMU is not known to be gone: it only
asks the guest's keeper, which refuses both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import structlog

from segue.adapters import chance, clock
from segue.adapters.qemu.machine import Machine
from segue.adapters.store.journal import Journal
from segue.agent.figures import Figures
from segue.agent.notices import Notices
from segue.agent.senses import Senses
from segue.errors import Kind, Refused, SegueError
from segue.model.application import Restart
from segue.model.crash import OTHERS_ARE_ASKED, AppEnd, Cause, Deed
from segue.model.guest import Guest
from segue.model.handoff import Copy, Phase
from segue.model.incident import Hit, Incident
from segue.model.lifecycle import Stage
from segue.model.migration import Migration
from segue.policy import crash
from segue.policy.crash import Vitals

if TYPE_CHECKING:
    from segue.agent.keeper import Keeper

log = structlog.get_logger()
LOOK_S: Final = 5.0
"""Between two looks at a running guest."""
AWAY_S: Final = 3.0
"""Between two questions to hosts that may have taken a guest over."""
STEPS_MOST: Final = 40
"""Of one incident; an application may fail for days."""
WORDS: Final = {
    Cause.QEMU_ENDED: "its QEMU ended unexpectedly",
    Cause.MEMORY_LOST: "what was left of its memory at its source is gone, and it was ended",
    Cause.UNMOVABLE: "its host fails, and it cannot be moved away",
    Cause.CUT_OFF: "its host was cut off from the others, and ended it: another one may take it over",
    Cause.POWER_LOST: "its host had no power meanwhile: another one may have taken it over",
    Cause.PANIC: "its kernel panicked",
    Cause.WATCHDOG: "it hangs: it does not feed its watchdog any more",
    Cause.DEAF: f"its QEMU has not answered for {crash.DEAF_S:g} s",
    Cause.APP_ENDED: "it ended without success",
    Cause.SILENT: f"its guest agent has not answered for {crash.SILENT_S:g} s, and it sends, reads and writes nothing",
}
SEEM_TO_RUN: Final = frozenset({Cause.DEAF, Cause.SILENT, Cause.UNMOVABLE})
Start = Callable[["Keeper"], Awaitable[None]]


class Crashes:
    """All open incidents of this host, and who is told of them."""

    def __init__(
        self,
        host: str,
        journal: Journal,
        notices: Notices,
        figures: Figures,
        senses: Senses,
        tied: Callable[[Guest], str] = lambda _: "",
    ) -> None:
        """tied: why no other host can start a guest; empty where one may."""
        self._tied = tied
        self._host = host
        self._journal = journal
        self._notices = notices
        self._figures = figures
        self.senses = senses
        self._open = {incident.hits[0].uuid: incident for incident in journal.incidents.open()}
        self._vitals: dict[str, Vitals] = {}
        self._answered_s: dict[str, float] = {}
        self._starting: set[str] = set()

    def open(self) -> list[Incident]:
        """Those that are not over."""
        return list(self._open.values())

    def is_to_return(self, uuid: str) -> bool:
        """True for a guest that crashed and is started again by itself, here or elsewhere."""
        incident = self._open.get(uuid)
        is_due = incident is not None and bool(incident.due_s or incident.elsewhere_s)
        return is_due or uuid in self._starting

    async def begin(
        self, guest: Guest, cause: Cause, machine: Machine | None, more: str = "", since_s: float = 0.0
    ) -> Incident:
        """Written down with its evidence, before anything is done; the one that is open, if there is one.

        since_s: of one that hangs, its last sign of life by the steady clock: from then on it was away.
        """
        known, seems_to_run = self._open.get(guest.uuid), cause in SEEM_TO_RUN
        if known is not None and (seems_to_run or not known.hits[0].runs) and not _outdoes(cause, known):
            return known
        if known is not None:
            self._end(known, f"it ended: {WORDS[cause]}")  # What was decided then is not what is wanted now.
        at_s = (machine.crashed_at_s if machine is not None else 0.0) or clock.wall_s()
        if since_s:
            at_s = clock.wall_s() - (clock.steady_s() - since_s)
        if guest.is_app:
            found = await self.senses.evidence_of_app(guest, WORDS[cause])
        else:
            found = await self.senses.evidence(guest, machine)
        made = Incident(
            id=chance.new_id(),
            host=self._host,
            cause=cause,
            at_s=at_s,
            text=f"{guest.name}: {WORDS[cause]}{more}",
            hits=(Hit(guest.name, guest.uuid, at_s, runs=seems_to_run),),
            evidence=found,
        )
        made = self._decide(made, guest)
        log.error("a guest crashed", guest=guest.name, cause=cause, done=made.done[-1].text, incident=made.id)
        return made

    async def begin_app(self, guest: Guest, end: AppEnd) -> None:
        """An application failed, perhaps once more. What comes then its restart policy has said; its keeper does it."""
        now_s, known = clock.wall_s(), self._open.get(guest.uuid)
        if known is None:
            known = Incident(
                id=chance.new_id(),
                host=self._host,
                cause=Cause.APP_ENDED,
                at_s=end.at_s,
                text=f"{guest.name}: {WORDS[Cause.APP_ENDED]} ({end.how})",
                hits=(Hit(guest.name, guest.uuid, end.at_s),),
                evidence=await self.senses.evidence_of_app(guest, end.how),
            )
            log.error("an application failed", guest=guest.name, how=end.how, incident=known.id)
        elif len(known.done) < STEPS_MOST:
            known = known.with_step(end.at_s, f"it ended again ({end.how})")
        wanted = guest.app.restart if guest.app is not None else Restart.NO
        said = f"by its restart policy, {wanted}: "
        said += "it is left to a person" if end.wait_s is None else f"started again after {end.wait_s:.0f} s"
        known = replace(known, due_s=0.0 if end.wait_s is None else now_s + end.wait_s)
        self._keep(known.with_step(now_s, said) if len(known.done) < STEPS_MOST else known)

    def _decide(self, incident: Incident, guest: Guest) -> Incident:
        now_s = clock.wall_s()
        tried = [at_s for one in self._of(guest.uuid) for at_s in one.tried_s] + list(incident.tried_s)
        chosen = crash.answer(incident.cause, guest.on_crash, tried, now_s)
        if chosen.deed is Deed.LEAVE:
            made = replace(incident, due_s=0.0, elsewhere_s=0.0)
            return self._keep(made.with_step(now_s, f"it is left to a person: {chosen.why}"))
        at_s, tied = now_s + chosen.wait_s, self._tied(guest)
        if chosen.deed is Deed.RESTART or tied:
            why = f"{chosen.why}; not elsewhere: {tied}" if chosen.deed is Deed.ELSEWHERE else chosen.why
            made = replace(incident, due_s=at_s, elsewhere_s=0.0)
            first = (
                ", once every other host has said that it is not there" if _may_be_elsewhere(incident) else ""
            )
            return self._keep(made.with_step(now_s, f"it is restarted on {self._host}{first}: {why}"))
        made = replace(incident, due_s=at_s + crash.ELSEWHERE_S, elsewhere_s=at_s)
        return self._keep(made.with_step(now_s, f"it is to be started on another host: {chosen.why}"))

    def _of(self, uuid: str) -> list[Incident]:
        return [one for one in self._journal.incidents.all() if not one.is_open and one.hits[0].uuid == uuid]

    async def tend(self, keeper: Keeper, start: Start) -> None:
        """With each tick of a guest: does what is due about its crash, and ends the incident when that is over."""
        incident = self._open.get(keeper.uuid)
        if incident is None or keeper.in_saga:
            return
        if keeper.guest is None or keeper.token.phase is not Phase.OWNER:
            if keeper.token.phase is not Phase.OFFERED:
                self._end(incident, "it is not on this host any more")
        elif not _may_be_elsewhere(incident) and not self._journal.ran_since_boot(keeper.guest.name):
            await self._power_was_lost(keeper.guest, incident)
        elif keeper.copy() is Copy.NONE:
            await self._tend_dead(keeper, incident, start)
        elif keeper.copy() is Copy.RUNNING and not incident.hits[0].runs:
            body = keeper.body
            self._back(incident, body.resumed_at_s if body is not None else 0.0)
        elif incident.hits[0].runs and crash.is_due(incident.elsewhere_s or incident.due_s, clock.wall_s()):
            # It hangs: from here on it is away, and the next tick starts it.
            await keeper.end_crashed(incident.text)
            self._keep(self._away(incident))

    async def _power_was_lost(self, guest: Guest, incident: Incident) -> None:
        """What was decided before its host had no power goes by what was known then."""
        if incident.due_s or incident.elsewhere_s:
            await self.begin(guest, Cause.POWER_LOST, None)
        else:
            self._end(incident, "its host had no power meanwhile: it is left to a person")

    async def _tend_dead(self, keeper: Keeper, incident: Incident, start: Start) -> None:
        if keeper.resident.wanted == "stopped":
            self._end(incident, "somebody stopped it")
        elif incident.hits[0].runs:
            self._keep(self._away(incident))
        elif incident.cause is Cause.APP_ENDED:
            return  # Its keeper starts it again, as its restart policy says.
        elif crash.is_due(incident.due_s, clock.wall_s()):
            await self._restart(keeper, incident, start)

    async def _restart(self, keeper: Keeper, incident: Incident, start: Start) -> None:
        """The try is in the journal before it is made: an agent that dies in it has made it."""
        now_s, guest, before = clock.wall_s(), keeper.guest_here(), incident
        tried = replace(incident, tried_s=(*incident.tried_s, now_s), due_s=0.0, elsewhere_s=0.0)
        alone = "no other host has started it: " if incident.elsewhere_s else ""
        incident = self._keep(tried.with_step(now_s, f"{alone}it is started from its disks"))
        self._starting.add(guest.uuid)
        try:
            await start(keeper)
        except (SegueError, OSError, TimeoutError) as error:
            if _may_be_elsewhere(incident) and _is_away(error):
                # No try: it may live elsewhere, and somebody who would know is not there yet.
                self._keep(replace(before, due_s=now_s + AWAY_S))
                return
            log.error("a crashed guest is not back", guest=guest.name, why=str(error))
            self._decide(incident.with_step(clock.wall_s(), f"it was not started: {error}"), guest)
            return
        finally:
            self._starting.discard(guest.uuid)
        await self.tend(keeper, start)

    def _back(self, incident: Incident, at_s: float) -> None:
        at_s = at_s if at_s > incident.at_s else clock.wall_s()
        hits = (replace(incident.hits[0], back_s=at_s),)
        self._figures.returned(incident.cause, hits[0].away_s)
        self._end(replace(incident, hits=hits), f"it runs again, after {hits[0].away_s:.1f} s")

    # Guests that another host starts

    async def unmovable(self, keeper: Keeper, why: str) -> Incident:
        """It runs, and cannot be moved away from here; said again it is the same incident. Raises Refused for one that
        does not run, or is just being moved."""
        guest = keeper.guest_here()
        owned = keeper.token.phase is Phase.OWNER and not keeper.in_saga
        if guest.is_app or not owned or keeper.copy() is not Copy.RUNNING:
            raise Refused(
                what=f"{guest.name} is left as it is",
                why=f"it is {keeper.state()} here, {keeper.token.phase}",
                todo=f"Look with `segue vm show {guest.name}`.",
                kind=Kind.CONFLICT,
            )
        return await self.begin(guest, Cause.UNMOVABLE, keeper.machine, f": {why}")

    def wants_elsewhere(self, guest: Guest) -> bool:
        """True for one that crashed here, and that another host may start now."""
        incident = self._open.get(guest.uuid)
        if incident is None or incident.hits[0].runs or not self._journal.ran_since_boot(guest.name):
            return False
        return crash.is_due(incident.elsewhere_s, clock.wall_s())

    def stays(self, number: str, why: str) -> Incident:
        """No host takes it: it is restarted here at once. Raises Refused for an incident that wants nothing of it."""
        incident = next((one for one in self._open.values() if one.id == number), None)
        if incident is None or not incident.elsewhere_s:
            raise Refused(
                what=f"incident {number[:8]} is left as it is",
                why="no guest of it waits here for another host",
                todo="Look with `segue incident show`.",
                kind=Kind.CONFLICT,
            )
        now_s = clock.wall_s()
        made = replace(incident, due_s=now_s, elsewhere_s=0.0)
        return self._keep(made.with_step(now_s, f"no other host starts it: {why}"))

    def started_elsewhere(self, uuid: str, migration: Migration) -> None:
        """A migration of it ended. Where it was a cold one that came to its aim, the incident is over."""
        incident = self._open.get(uuid)
        if incident is None or not migration.cold:
            return
        if migration.stage is Stage.DONE:
            now_s = clock.wall_s()
            tried = replace(incident, tried_s=(*incident.tried_s, now_s))
            self._back(
                tried.with_step(now_s, f"{migration.target} started it"), migration.outcome.resumed_at_s
            )
        elif (failure := migration.failure) is not None:
            words = f"{migration.target} did not start it: {failure.why}"
            self._keep(incident.with_step(clock.wall_s(), words))

    def _away(self, incident: Incident) -> Incident:
        return replace(incident, hits=(replace(incident.hits[0], runs=False),))

    def _end(self, incident: Incident, text: str) -> None:
        now_s = clock.wall_s()
        self._keep(replace(incident.with_step(now_s, text), ended_s=now_s, due_s=0.0, elsewhere_s=0.0))

    def _keep(self, incident: Incident) -> Incident:
        """Durable, and then told."""
        uuid = incident.hits[0].uuid
        is_new = uuid not in self._open and incident.is_open
        self._journal.incidents.put(incident)
        if incident.is_open:
            self._open[uuid] = incident
        else:
            self._open.pop(uuid, None)
            self._vitals.pop(uuid, None)
        if is_new:
            deed = Deed.ELSEWHERE if incident.elsewhere_s else Deed.RESTART if incident.due_s else Deed.LEAVE
            self._figures.crashed(incident.cause, deed)
        self._notices.tell("incident", incident.hits[0].guest, incident)
        return incident

    # Guests that run, and may hang

    async def feel(self, keeper: Keeper) -> None:
        """Now and then a look at a guest that runs here by right and lacks nothing; what hangs becomes an incident."""
        machine, guest, now_s = keeper.machine, keeper.guest, clock.steady_s()
        vitals = self._vitals.get(keeper.uuid, Vitals(seen_s=float("-inf")))
        calm = keeper.token.phase is Phase.OWNER and keeper.copy() is Copy.RUNNING and not keeper.in_saga
        if machine is None or guest is None or not calm or keeper.resident.lacks_memory:
            self._forget_pulse(keeper.uuid)
            return
        if now_s - vitals.seen_s < LOOK_S:
            return
        pulse = await self.senses.pulse(guest, machine)
        if machine is not keeper.machine or keeper.in_saga:
            return  # What was seen is of another one, or of one that is being moved.
        if pulse is None:
            since_s = self._answered_s.setdefault(keeper.uuid, now_s)
            self._vitals[keeper.uuid] = replace(vitals, seen_s=clock.steady_s())
            if clock.steady_s() - since_s >= crash.DEAF_S:
                await self.begin(guest, Cause.DEAF, machine, since_s=since_s)
            return
        self._answered_s[keeper.uuid] = pulse.at_s
        self._vitals[keeper.uuid] = vitals = crash.felt(vitals, pulse)
        if crash.is_silent(vitals):
            await self.begin(guest, Cause.SILENT, machine, since_s=vitals.alive_s)
        else:
            self._lives(keeper.uuid)

    def _lives(self, uuid: str) -> None:
        incident = self._open.get(uuid)
        if incident is not None and incident.hits[0].runs and incident.cause is not Cause.UNMOVABLE:
            self._end(incident, "it answers again by itself")

    def _forget_pulse(self, uuid: str) -> None:
        self._vitals.pop(uuid, None)
        self._answered_s.pop(uuid, None)


def _outdoes(cause: Cause, known: Incident) -> bool:
    """An application's restart policy knows nothing of other hosts, which may have taken it over by now."""
    app_ended = cause is Cause.CUT_OFF and known.cause is Cause.APP_ENDED
    return app_ended or (cause is Cause.POWER_LOST and not _may_be_elsewhere(known))


def _may_be_elsewhere(incident: Incident) -> bool:
    return incident.cause in OTHERS_ARE_ASKED


def _is_away(error: Exception) -> bool:
    return isinstance(error, SegueError) and error.kind is Kind.UNREACHABLE
