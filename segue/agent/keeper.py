"""Keeps one guest on this host: its token, and by it what its QEMU may do. One change at a time, through `tell`."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import ClassVar

import structlog

from segue.adapters import clock
from segue.adapters.qemu.machine import Machine
from segue.agent import plant
from segue.agent.resident import Resident
from segue.agent.services import Services
from segue.errors import Kind, Refused, SegueError
from segue.model.crash import Cause
from segue.model.guest import Guest, RunState
from segue.model.handoff import (
    HERE,
    Boot,
    BothComplete,
    Confirm,
    Copy,
    Discard,
    Effect,
    Event,
    GiveUp,
    Grant,
    Message,
    NeverRan,
    Offer,
    Phase,
    Reaction,
    Refuse,
    Resume,
    Send,
    Start,
    StepBack,
    Succeeded,
    TakePlace,
    Token,
)
from segue.policy import handoff
from segue.wire.frames import Shown
from segue.wire.messages import Delivery, pack, unpack

log = structlog.get_logger()

TICK_S = 1.0
ROUNDS_MAX = 5
"""One event is decided after three rounds at most (see the tests of policy/handoff.py)."""
INCOMING_LEASE_S = 120.0
"""A paused copy whose source was silent for this long is dropped; a late grant then returns the token."""


class Keeper:
    """One guest. `guest` is None for a guest that this host only remembers by its tombstone."""

    lives_in: ClassVar[type[Resident]] = Resident

    def __init__(self, services: Services, uuid: str, guest: Guest | None) -> None:
        self._services = services
        self.uuid = uuid
        self.resident = self.lives_in(services, uuid, guest)
        self.token: Token = services.journal.token(uuid)
        self.in_saga = False
        self.confirmed_at_s = 0.0
        self._lock = asyncio.Lock()
        self._resumed_at_s = 0.0
        self.resumed: tuple[tuple[str, float], ...] = ()
        """How it came to run here, when it did last: what was done, by the wall clock."""
        self._marks: deque[tuple[str, float]] = deque(maxlen=8)
        """What became of the last word that was heard, by the wall clock."""

    # What it is now

    @property
    def guest(self) -> Guest | None:
        """The guest; None where only its tombstone is left."""
        return self.resident.guest

    @property
    def machine(self) -> Machine | None:
        """Its QEMU on this host."""
        return self.resident.machine

    def copy(self) -> Copy:
        """What the QEMU on this host holds."""
        return self.resident.copy()

    @property
    def is_over(self) -> bool:
        """True when only the tombstone in the journal is left, and nobody works with it."""
        over = self.guest is None and self.token.phase in {Phase.ABSENT, Phase.OWNER}
        return over and not self.in_saga and not self._lock.locked()

    def guest_here(self) -> Guest:
        """The guest, for one that this host has more of than a tombstone."""
        if self.guest is None:
            raise _refused(self.uuid, "it is not on this host any more")
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
        )

    # What changes it

    async def tell(self, event: Event, sender: str = "") -> Delivery:
        """One event: journal first, then the effects in order. Words for `sender` are in the answer,
        words for others are sent after it. Raises Refused when a local event is not allowed."""
        replies: list[Message] = []
        others: list[Send] = []
        async with self._lock:
            self._resumed_at_s = 0.0
            self.token = self._services.journal.token(self.uuid)
            for _ in range(ROUNDS_MAX):
                reaction = handoff.react(self.token, event, self.copy(), sender)
                self._check(reaction, sender)
                self._write(reaction.token)
                for effect in reaction.effects:
                    await self._carry_out(effect, sender, replies, others)
                if self._must_go_back():
                    event = NeverRan()
                elif not reaction.again:
                    break
        self.announce()
        for send in others:
            await self._send(send)
        if self._resumed_at_s:
            self.resumed = (*self._marks, ("resumed", self._resumed_at_s))
        words = tuple(pack(reply) for reply in replies)
        return Delivery(words, resumed_at_s=self._resumed_at_s, marks=tuple(self._marks))

    async def release(self, event: BothComplete) -> None:
        """Gives the guest away in the journal; the grant itself is for the caller to deliver and repeat."""
        async with self._lock:
            reaction = handoff.react(self.token, event, self.copy())
            self._check(reaction, "")
            self._write(reaction.token)

    async def hear(self, message: Message, sender: str, resumed_at_s: float) -> Delivery:
        """A word from another host's agent."""
        self.heard()
        self._marks.clear()
        self._mark("heard")
        self._services.failpoints.hit(f"hears {type(message).__name__.lower()}")
        if isinstance(message, Confirm) and self.in_saga:
            # The saga still forwards frames through our copy's tap; it retires the copy itself.
            self.confirmed_at_s = resumed_at_s
            return Delivery()
        if isinstance(message, Grant) and self.resident.landing is not None:
            await self.resident.landed()
            self._mark("landed")
        return await self.tell(message, sender)

    async def succeed(self, migration: str) -> None:
        """The guest that changed its QEMU in place has only the new one."""
        async with self._lock:
            await self.resident.settle()
        await self.tell(Succeeded(migration))

    def heard(self) -> None:
        """The other host's agent lives."""
        self.resident.heard_s = clock.steady_s()

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

    def _check(self, reaction: Reaction, sender: str) -> None:
        for effect in reaction.effects:
            if isinstance(effect, Refuse):
                log.info("not allowed now", guest=self.uuid, why=effect.reason, sender=sender)
                if not sender:
                    raise _refused(self.guest.name if self.guest else self.uuid, effect.reason)

    def _write(self, token: Token) -> None:
        if token != self.token:
            self._services.failpoints.hit(f"before {token.phase}")
            self._services.journal.put_token(self.uuid, token)
            self.token = token
            self._mark(token.phase.value)
            self._services.failpoints.hit(f"after {token.phase}")

    def _mark(self, what: str) -> None:
        self._marks.append((what, clock.wall_s()))

    async def _carry_out(
        self, effect: Effect, sender: str, replies: list[Message], others: list[Send]
    ) -> None:
        match effect:
            case Send(to=to, message=message) if to == sender:
                replies.append(message)
            case Send(message=Offer()):
                return  # An offer travels with the placement, which says what the guest is.
            case Send():
                others.append(effect)
            case Resume():
                self._resumed_at_s = await self.resident.resume()
            case Boot():
                self._resumed_at_s = await self.resident.boot()
            case Discard():
                await self.resident.discard()
            case TakePlace():
                self.resident.take_place()
            case StepBack():
                await self.resident.step_back()

    def _must_go_back(self) -> bool:
        """True for a guest that was just given to us, does not run here, and never did."""
        unconfirmed = self.token.phase is Phase.OWNER and bool(self.token.peer)
        return unconfirmed and self.resident.never_ran

    async def make_known(self) -> None:
        """Says once more where the guest is, if it is ours."""
        if self.token.phase is Phase.OWNER:
            await self.resident.make_known()

    async def _send(self, send: Send) -> None:
        """One try; what must arrive is repeated by the tick."""
        try:
            answer = await self._services.peer(send.to).deliver(
                self.uuid, send.message, resumed_at_s=self._resumed_at_s
            )
        except (ConnectionError, TimeoutError, SegueError) as error:
            log.info("a word did not arrive", guest=self.uuid, to=send.to, error=str(error))
            return
        self.heard()
        for frame in answer.messages:
            await self.hear(unpack(frame), send.to, answer.resumed_at_s)

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
        if self.token.phase is Phase.INCOMING and self._lease_over():
            await self.tell(GiveUp())
        for effect in handoff.pending(self.token, self.copy()):
            if isinstance(effect, Send):
                await self._send(effect)
            elif isinstance(effect, Resume):
                await self.resume_again()

    async def take_up(self) -> None:
        """What is of it on this host, touched by nobody but what the journal does not know of."""
        await self.resident.take_up(self.token)
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
        """A QEMU that ended, and a guest that shut down or crashed, are cleared away and written down."""
        machine, guest = self.machine, self.guest
        if machine is None or guest is None or (machine.alive() and not machine.is_over):
            return
        if self.token.phase is Phase.RELEASED or self.in_saga:
            return  # The saga needs to see it first.
        if self._lock.locked():
            return  # Somebody is just ending it: the next tick sees what is left.
        if machine.crash is Cause.WATCHDOG and self.resident.lacks_memory:
            machine.crash = None  # It did not hang: it waited for a page. It is let run on.
            return
        by_guest, wanted, reason = machine.ended_by_guest, "stopped", self.resident.reason
        if by_guest:
            reason = f"the guest ended by itself ({by_guest})"
        if self.token.phase is Phase.OWNER and not by_guest and self.resident.wanted == "running":
            cause = machine.crash or Cause.QEMU_ENDED
            wanted, reason = "running", (await self._services.crashes.begin(guest, cause, machine)).text
        async with self._lock:
            await self.resident.discard()
            if self.token.phase is Phase.OWNER:
                self.resident.want(wanted, reason)
                log.warning("guest ended", guest=self.uuid, reason=reason)
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
            raise _refused(guest.name, f"the guest is {self.token.phase} here")
        self._services.journal.respecify(guest)
        self.resident.guest = guest
        self.announce()

    def note(self, reason: str) -> None:
        """Keeps a sentence for people beside the guest."""
        self.resident.note(reason)
        self.announce()

    async def start(self, peers_highest: int) -> None:
        """Starts the guest from its disk."""
        await self.tell(Start(peers_highest=peers_highest))

    async def stop(self, within_s: float) -> None:
        """Asks the guest to shut down, and ends it when it has not done so in time."""
        assert self.guest is not None
        if self.token.phase is not Phase.OWNER:
            raise _refused(self.guest.name, f"the guest is {self.token.phase} here")
        self.resident.want("stopped", "stopped by the operator")
        machine = self.machine
        if machine is not None and not machine.gone.is_set():
            await plant.shut_down(machine, within_s)
        async with self._lock:
            await self.resident.discard()
        self.announce()


def _refused(name: str, why: str) -> Refused:
    return Refused(
        what=f"this cannot be done with {name} now",
        why=why,
        todo=f"Look with `segue vm show {name}` and `segue migration list`.",
        kind=Kind.CONFLICT,
    )
