"""One application's container on this host: what it holds and what can be done with it. The keeper decides."""

from __future__ import annotations

import asyncio
import math

import structlog

from segue.adapters import clock
from segue.adapters.criu.departure import Departure
from segue.adapters.criu.landing import Landing
from segue.adapters.oci import container as containers
from segue.adapters.oci.container import Container, Exit
from segue.agent import app_move, plant_app
from segue.agent.resident import Resident, later
from segue.errors import Aborted, Refused
from segue.model.application import Application, Restart
from segue.model.crash import AppEnd, Cause
from segue.model.guest import Guest
from segue.model.handoff import Copy, Phase, Token
from segue.policy import restart

log = structlog.get_logger()


class AppResident(Resident):
    """`container` is None where nothing of it runs, or could; `machine` always is. Callers hold the keeper's lock."""

    container: Container | None = None
    arriving_app: app_move.Arriving | None = None
    """While it comes to this host and has not run here yet."""
    paged: Landing | None = None
    """It runs here, and not all of its memory may be in place yet."""
    departure: Departure | None = None
    """While it leaves this host, until it is known whether it does."""
    _ended_by_us = False
    """It did not outlive a move that was broken off, and so is started again, whatever its policy says."""
    _failures = 0
    _began_s = 0.0
    _due_s = math.inf
    """When it is started again, by the clock that only grows."""

    @property
    def body(self) -> Container | None:
        """See Resident."""
        return self.container

    def copy(self) -> Copy:
        """A container that is frozen, or held by CRIU, holds a whole copy that does not run."""
        if self.arriving_app is not None:
            return Copy.COMPLETE if self.arriving_app.is_complete else Copy.PARTIAL
        if self.container is None or not self.container.alive():
            return Copy.NONE
        held = self.departure is not None and self.departure.stands
        return Copy.COMPLETE if held or self.container.frozen else Copy.RUNNING

    @property
    def plight(self) -> str:
        """See Resident; of one that runs, what limits of it do not hold."""
        if self.reason or self.guest is None or self.copy() is not Copy.RUNNING:
            return self.reason
        return self._services.apps.unlimited(self.guest)

    @property
    def ended(self) -> bool:
        """See Resident."""
        return self.container is not None and not self.container.alive()

    async def take_up(self, phase: Phase) -> None:
        """After a start of the agent: the container as it stands, touched by nobody."""
        guest = self._guest()
        if await self._take_up_arriving(guest, phase):
            return
        self._adopt(await plant_app.find(self._services, guest))
        if self.container is not None:
            departure = app_move.departure(self._services, guest)
            departure.take_up()
            self.departure = departure if departure.begun else None
            if not self.container.frozen:
                self._take_up_filling(guest)
            return
        ran = (
            phase is Phase.OWNER
            and self.wanted == "running"
            and self._services.journal.ran_since_boot(guest.name)
        )
        if ran and self._was_cut_off():
            await self._note_cut_off()
        elif ran:  # It ended while no agent was there, or waits for its next start.
            found = containers.read_exit(self._services.apps.places(guest))
            is_news = not self.reason
            self.want(*self._sentence(found or Exit(None, clock.wall_s())))
            if is_news:
                await self._record(found or Exit(None, clock.wall_s()))
        await plant_app.remove(self._services, guest, None)

    async def take_up_beside(self, token: Token) -> None:
        """An application has no second one beside it."""

    async def _take_up_arriving(self, guest: Guest, phase: Phase) -> bool:
        """What was whole by then still waits for its word, perhaps for one that is in the journal already; the rest is
        worth nothing. False for one that does not come in."""
        arriving = app_move.Arriving(self._services, guest)
        arriving.landing.take_up()
        # What was given up may still be under way to its hook, where it would wait for ever.
        was_to_come = phase is Phase.INCOMING or (phase is Phase.ABSENT and arriving.landing.begun)
        if arriving.is_complete:
            self.arriving_app = arriving
        elif was_to_come:
            await arriving.drop()
        return arriving.is_complete or was_to_come

    def _take_up_filling(self, guest: Guest) -> None:
        """It runs, and its memory may not be in place yet; what it came with is cleared away once it is."""
        landing = app_move.Arriving(self._services, guest).landing
        landing.take_up()
        if landing.begun:
            self._let_be_filled(landing)

    def _let_be_filled(self, landing: Landing) -> None:
        self.paged = landing
        later(self.memory_in_place())

    async def memory_in_place(self) -> None:
        """Returns once it is, for one that came here and runs."""
        if self.paged is not None:
            await self.paged.whole()
            self.paged = None

    def _adopt(self, found: Container | None) -> None:
        self.container = found
        if found is not None:
            found.when_gone(self.on_end)

    async def resume(self) -> float:
        """Lets a frozen one go on; the wall-clock time at which it did, 0 where it did not."""
        if not await self._may_run():
            return 0.0
        if self.arriving_app is not None:
            return await self._let_run(self.arriving_app)
        if self.departure is not None:
            departure, self.departure = self.departure, None
            await departure.undo()
            self._ended_by_us = self.ended
        if self.container is None or not self.container.alive():
            return 0.0
        self.container.thaw()
        return self._runs()

    async def admit(self, guest: Guest) -> None:
        """See Resident. What stands for a move counts, on both hosts: its cgroup ends as a whole."""
        arrived = self.arriving_app is not None and self.arriving_app.is_complete
        if arrived or (self.container is not None and self.container.alive()):
            await self._services.lease.admit_tree(guest, self._services.apps.places(guest).cgroup)

    async def _may_run(self) -> bool:
        """False where its host has no lease for it: it stands on."""
        try:
            await self.admit(self._guest())
        except Refused as refusal:
            self.cannot_run(refusal.why)
            return False
        return True

    def _was_cut_off(self) -> bool:
        lease = self._services.lease
        return not lease.lives and lease.covers(self._guest())

    async def _note_cut_off(self) -> None:
        """Its host's guard has ended it. It is not started again here before the others were asked."""
        self._due_s = math.inf
        incident = await self._services.crashes.begin(self._guest(), Cause.CUT_OFF, None)
        self.want("running", incident.text)

    async def _let_run(self, arriving: app_move.Arriving) -> float:
        try:
            found, ran_s = await arriving.go()
        except Aborted as error:
            log.error("the application does not run here", guest=self.uuid, why=error.why)
            self.refusal = error.why
            if arriving.landing.told:  # It may have run: it is not given back, and there is no other copy.
                self.arriving_app = None
                await plant_app.remove(self._services, self._guest(), None)
                self.want("running", f"it was lost as it was moved: {error.why}; start it from its files")
            return 0.0
        self.arriving_app, self.refusal = None, ""
        self._let_be_filled(arriving.landing)
        self._adopt(found)
        self._runs()
        return ran_s

    @property
    def never_ran(self) -> bool:
        """See Resident."""
        return bool(self.refusal) and self.arriving_app is not None

    async def boot(self) -> float:
        """Starts it from its files. Raises Refused, and then nothing is left of the try."""
        guest = self._guest()
        await plant_app.remove(self._services, guest, self.container)
        self._adopt(await plant_app.start(self._services, guest))
        return self._runs()

    def _runs(self) -> float:
        now_s, self._began_s, self._due_s = clock.wall_s(), clock.steady_s(), math.inf
        if self.container is not None:
            self.container.resumed_at_s = now_s
        self._services.journal.ran(self._guest().name)
        self.wanted, self.reason, self.refusal = "running", "", ""
        self._ended_by_us = False
        later(self.make_known())
        return now_s

    async def make_known(self) -> None:
        """See Resident."""
        if self.guest is None or self.container is None:
            return
        try:
            await plant_app.make_known(self._services, self.guest)
        except OSError as error:
            log.warning("the application's place is not announced", guest=self.uuid, error=str(error))

    async def discard(self) -> None:
        """Ends it and takes its network away; it is still kept, and so are its files."""
        if self.arriving_app is not None:
            arriving, self.arriving_app = self.arriving_app, None
            await arriving.drop()
            return
        if self.departure is not None:
            departure, self.departure = self.departure, None
            await departure.go()
        if self.guest is not None:
            await plant_app.remove(self._services, self.guest, self.container)
        self.container = None

    async def drop(self) -> None:
        """Nothing of it stays here; where it went, its files went before it."""
        await self.discard()
        if self.guest is not None:
            await asyncio.to_thread(self._services.apps.put_aside, self.guest)
            self._services.journal.drop_guest(self.guest.name)
        self.guest = None

    async def shut_down(self, within_s: float) -> None:
        """Asks it to end, as its image says how."""
        self._due_s = math.inf
        if self.container is None:
            return
        if not await self.container.ask_to_end(self._app().stop_signal, within_s) and within_s > 0:
            log.warning("the application did not end in time and is ended", guest=self._guest().name)

    async def epitaph(self, *, owned: bool) -> tuple[str, str]:
        """See Resident."""
        assert self.container is not None
        if self.wanted == "stopped":
            return self.wanted, self.reason
        found = await self.container.exit()
        if owned and self._was_cut_off():
            await self._note_cut_off()
            return self.wanted, self.reason
        said = self._sentence(found)
        if owned:
            await self._record(found)
        return said

    async def _record(self, found: Exit) -> None:
        """An end without success is an incident, before anything of the application is cleared away."""
        if found.status == 0:
            return
        wait_s = None if self._due_s == math.inf else max(0.0, self._due_s - clock.steady_s())
        await self._services.crashes.begin_app(self._guest(), AppEnd(found.text, found.at_s, wait_s))

    def _sentence(self, found: Exit) -> tuple[str, str]:
        said = f"it ended by itself ({found.text})"
        self._failures = restart.failures_that_count(self._failures, clock.steady_s() - self._began_s)
        policy = Restart.ON_FAILURE if self._ended_by_us else self._app().restart
        wait_s = restart.wait_s(policy, found.status, self._failures)
        if wait_s is None:
            return "stopped" if found.status == 0 else "running", said
        self._failures += 1
        self._due_s = clock.steady_s() + wait_s
        return "running", f"{said}, and is started again after {wait_s:.0f} s"

    @property
    def returns(self) -> bool:
        """See Resident."""
        return self.container is not None or self._due_s < math.inf

    @property
    def due(self) -> bool:
        """See Resident."""
        return self.wanted == "running" and self.container is None and clock.steady_s() >= self._due_s

    def postpone(self, why: str) -> None:
        """See Resident."""
        wait_s = restart.wait_s(Restart.ALWAYS, None, self._failures) or restart.MOST_S
        self._failures += 1
        self._due_s = clock.steady_s() + wait_s
        self.want("running", f"it cannot be started again: {why}; it is tried again after {wait_s:.0f} s")

    def _app(self) -> Application:
        app = self._guest().app
        assert app is not None
        return app

    def _guest(self) -> Guest:
        assert self.guest is not None
        return self.guest
