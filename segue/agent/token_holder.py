"""A guest's token on this host: the journal first, then what follows from it. No step here looks at the clock.

What may be done is decided by policy/handoff.py; who has a token to tell does it here, one event after the other.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from typing import Final

import structlog

from segue.adapters import clock
from segue.agent.resident import Resident
from segue.agent.services import Services
from segue.errors import Kind, Refused, SegueError
from segue.model.handoff import (
    Boot,
    BothComplete,
    Confirm,
    Copy,
    Discard,
    Effect,
    Event,
    Grant,
    Message,
    NeverRan,
    Offer,
    Phase,
    Reaction,
    Refuse,
    Resume,
    Send,
    StepBack,
    TakePlace,
    Token,
)
from segue.policy import handoff
from segue.wire.messages import Delivery, pack, unpack

log = structlog.get_logger()

ROUNDS_MAX: Final = 5
"""One event is decided after three rounds at most (see the tests of policy/handoff.py)."""


class TokenHolder(ABC):
    """The only place that writes a guest's token, and that lets it run."""

    resident: Resident

    def __init__(self, services: Services, uuid: str) -> None:
        self._services = services
        self.uuid = uuid
        self.token: Token = services.journal.token(uuid)
        self.in_saga = False
        self.confirmed_at_s = 0.0
        self._lock = asyncio.Lock()
        self._resumed_at_s = 0.0
        self.resumed: tuple[tuple[str, float], ...] = ()
        """How it came to run here, when it did last: what was done, by the wall clock."""
        self._marks: deque[tuple[str, float]] = deque(maxlen=8)
        """What became of the last word that was heard, by the wall clock."""

    @abstractmethod
    def announce(self) -> None:
        """Tells listeners what the guest is now."""

    def copy(self) -> Copy:
        """What the QEMU or container on this host holds."""
        return self.resident.copy()

    async def tell(self, event: Event, sender: str = "") -> Delivery:
        """One event: journal first, then the effects in order. Words for `sender` are in the answer,
        words for others are sent after it. Raises Refused when a local event is not allowed."""
        replies: list[Message] = []
        others: list[Send] = []
        self._demand_heeded(sender)
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
        self._demand_heeded(sender)
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

    def _demand_heeded(self, sender: str) -> None:
        """A host that gets no lease may just have written what it decided before: its guests are given away without
        it, so no word of it counts. Raises Refused; to the protocol that is a word that was lost."""
        if sender in self._services.lease.denials():
            name = self.resident.guest.name if self.resident.guest else self.uuid
            raise refused(name, f"{sender} is refused its lease: what it says of guests does not count")

    def heard(self) -> None:
        """The other host's agent lives."""
        self.resident.heard_s = clock.steady_s()

    def _check(self, reaction: Reaction, sender: str) -> None:
        for effect in reaction.effects:
            if isinstance(effect, Refuse):
                log.info("not allowed now", guest=self.uuid, why=effect.reason, sender=sender)
                if not sender:
                    raise refused(
                        self.resident.guest.name if self.resident.guest else self.uuid, effect.reason
                    )

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


def refused(name: str, why: str) -> Refused:
    """What is said of a wish that does not fit the guest's state."""
    return Refused(
        what=f"this cannot be done with {name} now",
        why=why,
        todo=f"Look with `segue vm show {name}` and `segue migration list`.",
        kind=Kind.CONFLICT,
    )
