"""Keeps one guest on this host: its token, and by it what its QEMU may do. One change at a time, through `tell`."""

from __future__ import annotations

from typing import ClassVar

import structlog

from segue.adapters import clock
from segue.adapters.qemu.machine import Machine
from segue.agent.resident import Body, Resident, later
from segue.agent.resident_app import AppResident
from segue.agent.resident_machine import MachineResident
from segue.agent.services import Services
from segue.agent.token_holder import TokenHolder, refused
from segue.errors import SegueError
from segue.model.crash import Cause
from segue.model.guest import Guest, RunState
from segue.model.handoff import (
    HERE,
    Copy,
    GiveUp,
    NeverRan,
    Phase,
    Resume,
    Send,
    Start,
    Succeeded,
    Token,
)
from segue.policy import handoff
from segue.wire.frames import Shown

log = structlog.get_logger()

TICK_S = 1.0
INCOMING_LEASE_S = 120.0
"""A paused copy whose source was silent for this long is dropped; a late grant then returns the token."""


class Keeper(TokenHolder):
    """One guest. `guest` is None for a guest that this host only remembers by its tombstone."""

    lives_in: ClassVar[type[Resident]] = MachineResident

    def __init__(self, services: Services, uuid: str, guest: Guest | None) -> None:
        super().__init__(services, uuid)
        self.resident = self._resident(guest)

    def _resident(self, guest: Guest | None) -> Resident:
        kind = AppResident if guest is not None and guest.is_app else self.lives_in
        made = kind(self._services, self.uuid, guest)
        made.on_end = lambda: later(self._notice_end())
        return made

    def adopt(self, guest: Guest) -> None:
        """The guest comes in, and is from now on known here."""
        if guest.is_app and not isinstance(self.resident, AppResident):
            self.resident = self._resident(guest)
        self.resident.guest = guest

    # What it is now

    @property
    def guest(self) -> Guest | None:
        """The guest; None where only its tombstone is left."""
        return self.resident.guest

    @property
    def machine(self) -> Machine | None:
        """Its QEMU on this host; an application has none."""
        return self.resident.machine

    @property
    def body(self) -> Body | None:
        """Its QEMU or container on this host."""
        return self.resident.body

    @property
    def is_over(self) -> bool:
        """True when only the tombstone in the journal is left, and nobody works with it."""
        over = self.guest is None and self.token.phase in {Phase.ABSENT, Phase.OWNER}
        return over and not self.in_saga and not self._lock.locked()

    @property
    def is_busy(self) -> bool:
        """True while something is just done to it: it may be running in a moment."""
        return self._lock.locked()

    def guest_here(self) -> Guest:
        """The guest, for one that this host has more of than a tombstone."""
        if self.guest is None:
            raise refused(self.uuid, "it is not on this host any more")
        return self.guest

    def state(self) -> RunState:
        """For people."""
        match self.token.phase, self.copy():
            case (Phase.INCOMING, _):
                return RunState.INCOMING
            case (_, Copy.RUNNING):
                return RunState.PAUSED if self.resident.stands else RunState.RUNNING
            case (_, Copy.NONE):
                return RunState.CRASHED if self.resident.wanted == "running" else RunState.STOPPED
            case _:
                return RunState.PAUSED

    def shown(self) -> Shown | None:
        """As the API shows it; None for a tombstone."""
        if self.guest is None:
            return None
        return Shown(
            name=self.guest.name,
            host=self._services.config.name,
            state=self.state().value,
            phase=self.token.phase.value,
            epoch=self.token.epoch,
            spec=self.guest,
            migration=self.token.migration if self.token.phase not in {Phase.OWNER, Phase.ABSENT} else "",
            reason=self.resident.plight,
            qemu=self.resident.qemu[0],
            qemu_outdated=self.resident.qemu[1],
            peer=self.token.peer,
            restarts=self.copy() is Copy.NONE and self._services.crashes.is_to_return(self.uuid),
        )

    # What changes it

    async def succeed(self, migration: str) -> None:
        """The guest that changed its QEMU in place has only the new one."""
        async with self._lock:
            await self.resident.settle()
        await self.tell(Succeeded(migration))

    def announce(self) -> None:
        """Tells listeners what the guest is now."""
        shown = self.shown()
        if shown is not None:
            self._services.notices.tell("guest", shown.name, shown)

    async def forget(self) -> None:
        """Nothing of the guest stays here but its tombstone."""
        async with self._lock:
            if self.token.phase is Phase.ABSENT:
                await self.resident.drop()

    async def bury(self) -> None:
        """The guest is deleted: no host whose journal is older may ever start it again."""
        async with self._lock:
            self._write(Token(Phase.ABSENT, self.token.epoch + 1, "", self.token.migration))
            await self.resident.drop()

    async def make_known(self) -> None:
        """Says once more where the guest is, if it is ours."""
        if self.token.phase is Phase.OWNER:
            await self.resident.make_known()

    # What goes on by itself

    async def tick(self) -> None:
        """Repeats what may have been lost, and notices what ended."""
        if self.resident.deaf:
            await self._listen_to_the_deaf()
        await self._notice_end()
        if self.token.phase is Phase.OWNER and self.copy() is Copy.RUNNING:
            await self.resident.tend_disks()
        if self.in_saga or self.token.phase is Phase.OFFERED:
            return
        if self.token.phase is Phase.OWNER and self.resident.due and self._is_surely_ours():
            await self._start_again()
        if self.token.phase is Phase.INCOMING and self._lease_over():
            await self.tell(GiveUp())
        for effect in handoff.pending(self.token, self.copy()):
            if isinstance(effect, Send):
                await self._send(effect)
            elif isinstance(effect, Resume):
                await self.resume_again()

    async def take_up(self) -> None:
        """What is of it on this host, touched by nobody but what the journal does not know of."""
        await self.resident.take_up(self.token.phase)
        await self.resident.take_up_beside(self.token)

    async def _listen_to_the_deaf(self) -> None:
        async with self._lock:
            await self.take_up()
        self.announce()

    async def memory_is_lost(self, why: str) -> bool:
        """Ends a guest whose missing memory will never come. False for one that lacks nothing, or is not here."""
        async with self._lock:
            if self.token.phase is not Phase.OWNER or not (self.resident.lacks_memory or self.resident.deaf):
                return False
            if self.guest is not None:
                await self._services.crashes.begin(self.guest, Cause.MEMORY_LOST, self.machine)
            await self.resident.discard()
            self.resident.want("running", why)
        log.error("the guest is lost", guest=self.uuid, why=why)
        self.announce()
        return True

    async def resume_again(self) -> None:
        async with self._lock:
            if self.token.peer == HERE and self.token.phase is Phase.OWNER:
                self.resident.take_place()  # The first one's devices are stale from the write of the token on.
            if self.token.phase is Phase.OWNER and self.copy() is Copy.COMPLETE:
                self._resumed_at_s = await self.resident.resume()
        if self._must_go_back():
            await self.tell(NeverRan())
        self.announce()

    def _lease_over(self) -> bool:
        here = self.copy() is not Copy.NONE or self._services.intake.holds(self.uuid)
        return here and clock.steady_s() - self.resident.heard_s > INCOMING_LEASE_S

    async def _notice_end(self) -> None:
        """A guest that ended, shut itself down or crashed is cleared away, and that is written down."""
        body = self.resident.body
        if body is None or self.guest is None or not self.resident.ended:
            return
        if self.token.phase is Phase.RELEASED or self.in_saga:
            return  # The saga needs to see it first.
        if self._lock.locked():
            return  # Somebody is just ending it: the next tick sees what is left.
        async with self._lock:
            if self.resident.body is not body:
                return  # Somebody else was faster.
            wanted, reason = await self.resident.epitaph(owned=self.token.phase is Phase.OWNER)
            await self.resident.discard()
            if self.token.phase is Phase.OWNER:
                self.resident.want(wanted, reason)
                log.warning("guest ended", guest=self.uuid, reason=reason)
        self.announce()

    async def cut_off(self) -> None:
        """Its host's lease was over: the journal says so before anything of it can run here again."""
        # First of all: whoever wants to start it from here on asks the others, also one that waits for this to end.
        self._services.journal.cut_off(self.guest_here().name)
        if self.token.phase is Phase.INCOMING:
            await self.tell(GiveUp())
        async with self._lock:
            guest = self.guest_here()
            returns = self.resident.returns and self.resident.wanted == "running"
            if self.token.phase is Phase.OWNER and returns:
                incident = await self._services.crashes.begin(guest, Cause.CUT_OFF, self.machine)
                self.resident.want("running", incident.text)
            await self.resident.discard()
        self.announce()

    async def end_crashed(self, why: str) -> None:
        """Ends a guest that hangs; nothing where it is not ours."""
        async with self._lock:
            if self.token.phase is Phase.OWNER:
                await self.resident.discard()
                self.resident.want("running", why)
        self.announce()

    def respecify(self, guest: Guest) -> None:
        """Its owner keeps it with another policy from now on. Raises Refused while it is on its way."""
        if self.token.phase is not Phase.OWNER or self.in_saga:
            raise refused(guest.name, f"the guest is {self.token.phase} here")
        self._services.journal.respecify(guest)
        self.resident.guest = guest
        self.announce()

    def note(self, reason: str) -> None:
        """Keeps a sentence for people beside the guest."""
        self.resident.note(reason)
        self.announce()

    async def start(self, peers_highest: int) -> None:
        """Starts the guest from its disk."""
        self._services.demand_open(f"{self.guest_here().name} is not started")
        await self.tell(Start(peers_highest=peers_highest))

    def _is_surely_ours(self) -> bool:
        """It ran here since the boot and the last lease that was over, so nobody else can have taken it over."""
        return self.guest is not None and self._services.journal.ran_since_boot(self.guest.name)

    async def _start_again(self) -> None:
        """No peer has to be asked."""
        try:
            await self.start(peers_highest=0)
        except (SegueError, OSError, TimeoutError) as error:
            self.resident.postpone(error.why if isinstance(error, SegueError) else str(error))
            self.announce()

    async def stop(self, within_s: float) -> None:
        """Asks the guest to shut down, and ends it when it has not done so in time."""
        assert self.guest is not None
        if self.token.phase is not Phase.OWNER:
            raise refused(self.guest.name, f"the guest is {self.token.phase} here")
        self.resident.want("stopped", "stopped by the operator")
        await self.resident.shut_down(within_s)
        async with self._lock:
            await self.resident.discard()
        self.announce()
