"""Everything that can happen to one guest on a few hosts, with the real `react` and `pending` in the agents.

A world is the hosts (journal, QEMU copy, effects not yet carried out), the letters ever sent, the decider's
record and what is left of the fault budgets. The network is a set that only grows, and any letter in it may
be delivered at any time, any number of times or never: that is loss, doubling, delay and reordering at once,
and the letters of an earlier migration stay in it. A guest starts on host A.

The copy in QEMU is judged by a version that grows whenever the guest runs. Only whether a copy has the newest
version matters, so a copy just knows whether it is `behind`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from typing import NamedTuple

from segue.policy import handoff, recovery, takeover
from segue.policy.handoff import Copy, Phase, Token

NAMES = "ABC"
MAY_RUN = (Phase.OWNER, Phase.OFFERED)
COLD = "cold"
"""So begin the ids of cold migrations."""


class Memory(NamedTuple):
    """The QEMU process of one host; `behind` says that the guest has run elsewhere, or later, since."""

    kind: Copy = Copy.NONE
    behind: bool = False


class Host(NamedTuple):
    """One host; `todo` is the rest of the last reaction's effects, which a crash of the agent wipes out."""

    token: Token = Token()
    memory: Memory = Memory()
    todo: tuple[handoff.Effect | Token, ...] = ()
    on: bool = True
    unheard: bool = False  # rebooted, and has not yet learnt what its peers know
    ran: bool = False  # the guest has run here since its boot, or since it has its lease
    barred: bool = (
        False  # its lease is over: its guard has ended what ran, and lets nothing run; its agent goes on
    )

    def may_run(self) -> bool:
        return self.on and not self.unheard and not self.barred and self.token.phase in MAY_RUN

    def is_proved(self) -> bool:
        """A decider may say that nothing runs there, as long as this is so."""
        return not self.on or self.barred


class Report(NamedTuple):
    """The target's engine tells the source's that the copy is whole; it may arrive late like any letter."""

    migration: str


class Letter(NamedTuple):
    sender: int
    to: int
    message: handoff.Message | Report


class Budget(NamedTuple):
    """How many faults of each kind and how many migrations one history may hold; this bounds the search."""

    crashes: int = 0  # of an agent, between its journal write and any of the effects
    deaths: int = 0  # of a QEMU process
    outages: int = 0  # of a whole host, by accident or by fencing
    refusals: int = 0  # of QEMU to let a whole copy run, as where another process holds its disk
    migrations: int = 1
    lapses: int = 0  # of a host's lease
    cold: int = 0  # migrations of a guest that does not run, to a host that starts it from its disks


class World(NamedTuple):
    hosts: tuple[Host, ...]
    left: Budget
    letters: frozenset[Letter] = frozenset()
    begun: int = 0
    begun_cold: int = 0
    top: tuple[int, int] = (1, 0)  # the highest epoch at which a host was ever allowed to run, and that host
    decided: tuple[int, int] = (0, 0)  # the decider's record: for whom, and the epoch that came of it
    shunned: int = -1  # the host without a lease whose guest was given away: nobody takes its words


class Kind(Enum):
    PLAIN = auto()  # goes on when faults have stopped
    FAULT = auto()
    POWER_ON = auto()
    NEW_WORK = auto()


class Move(NamedTuple):
    who: int
    what: tuple[object, ...]
    kind: Kind
    world: World
    flaw: str = ""  # what the move itself breaks


class Violation(Exception):
    """Something happened that must never happen; the text says what."""


@dataclass(frozen=True)
class Rules:
    """What the agents run and how they keep their side: the real thing, or a variant broken on purpose."""

    react: Callable[[Token, handoff.Event, Copy, str], handoff.Reaction] = handoff.react
    pending: Callable[[Token, Copy], tuple[handoff.Effect, ...]] = handoff.pending
    owned: Callable[[Token], int] = handoff.owned
    heirs_epoch: Callable[[Iterable[int], int, bool], int] = takeover.epoch
    journal_first: bool = True  # the token is written before the first effect
    hears_after_reboot: bool = True  # nothing starts from disk before the peers were heard
    proof_holds: bool = True  # a fencing is told only while the host is still off
    asks_everybody: bool = True  # a fencing is told only when all other hosts have said what they claim
    counts_grants: bool = True  # a target with a copy counts as one that may own the next epoch
    starts_on_the_record: bool = True  # a rebooted host takes the decider's word for a peer that is off
    remembers: bool = True  # the decider keeps a record of what it decided before
    knows_what_ran: bool = True  # a copy that died is not taken for one that never ran
    cold_only_of_this_boot: bool = (
        True  # what crashed before a reboot is not given away before the peers were heard
    )
    guards: bool = True  # nothing is let run without a lease
    buries: bool = True  # before the next lease begins nothing is left of the guests of the last
    doubts: bool = True  # and none of them is started before the peers were heard
    outbids: bool = True  # of two takeovers that knew nothing of each other one gives way
    shuns: bool = True  # nobody takes a word of a host that is refused its lease


def first_world(budget: Budget, hosts: int = 2) -> World:
    owner = Host(Token(Phase.OWNER, 1), Memory(Copy.RUNNING), ran=True)
    return World((owner, *[Host()] * (hosts - 1)), budget)


def judged(move: Move) -> World:
    """The world after the move with its highest epoch noted, if everything that must hold holds in it."""
    world = move.world
    if move.flaw:
        raise Violation(move.flaw)
    allowed = [who for who, host in enumerate(world.hosts) if host.may_run()]
    running = [who for who, host in enumerate(world.hosts) if host.memory.kind is Copy.RUNNING]
    if len(running) > 1:
        raise Violation("two copies run")
    if len(allowed) > 1:
        raise Violation("two journals allow the guest to run")
    if running and running != allowed:
        raise Violation("a copy runs where the journal does not allow it")
    if not allowed:
        return world
    epoch, owner = world.hosts[allowed[0]].token.epoch, allowed[0]
    if epoch < world.top[0] or (epoch == world.top[0] and owner != world.top[1]):
        raise Violation(f"{NAMES[owner]} owns epoch {epoch}, but {world.top[0]} was owned before")
    return world if epoch == world.top[0] else world._replace(top=(epoch, owner))


def settled(world: World) -> bool:
    """One owner runs the guest, and no other host has anything of it left."""
    at_rest = all(host.on and not host.barred and not host.todo for host in world.hosts)
    owners = [h for h in world.hosts if h.token.phase is Phase.OWNER and h.memory.kind is Copy.RUNNING]
    empty = [h for h in world.hosts if h.token.phase is Phase.ABSENT and h.memory.kind is Copy.NONE]
    return at_rest and len(owners) == 1 and len(empty) == len(world.hosts) - 1


@dataclass(frozen=True)
class Model:
    """All moves of a world under the given rules."""

    rules: Rules = field(default_factory=Rules)

    def moves(self, world: World) -> Iterator[Move]:
        for who, host in enumerate(world.hosts):
            yield from self._faults(world, who, host)
            if host.on and host.todo:
                yield self._next_effect(world, who, host)
                yield from self._refusal(world, who, host)
            elif host.on:
                yield from self._agent(world, who, host)
                yield from self._qemu(world, who, host)

    def _faults(self, world: World, who: int, host: Host) -> Iterator[Move]:
        left = world.left
        if not host.on:
            yield Move(who, ("is powered on",), Kind.POWER_ON, _put(world, who, host._replace(on=True)))
            return
        yield from self._lease(world, who, host)
        if host.todo and left.crashes:
            after = _put(world, who, host._replace(todo=()))
            after = after._replace(left=left._replace(crashes=left.crashes - 1))
            yield Move(who, ("crashes (the agent) before", host.todo[0]), Kind.FAULT, after)
        if host.memory.kind is not Copy.NONE and left.deaths:
            after = _put(world, who, host._replace(memory=Memory()))
            after = after._replace(left=left._replace(deaths=left.deaths - 1))
            yield Move(who, ("loses its QEMU process",), Kind.FAULT, after)
        if left.outages:
            after = _put(world, who, Host(token=host.token, on=False, unheard=True))
            after = after._replace(left=left._replace(outages=left.outages - 1))
            yield Move(who, ("loses power, or is fenced",), Kind.FAULT, after)

    def _lease(self, world: World, who: int, host: Host) -> Iterator[Move]:
        """It runs out, and what runs is killed; what only stands stays until the next one begins."""
        left, memory = world.left, host.memory
        if host.barred and not host.todo:
            after = host._replace(barred=False)
            if self.rules.buries:
                after = after._replace(memory=Memory())
            if self.rules.doubts:
                after = after._replace(unheard=True)
            again = _put(world, who, after)
            again = again._replace(shunned=-1) if world.shunned == who else again
            yield Move(who, ("has a lease again",), Kind.PLAIN, again)
        elif left.lapses and not host.barred:
            # One that stands for the blackout is killed, too; but an agent that was stopped just after its look at it
            # still writes and says what followed from that look.
            kept = Memory() if memory.kind is Copy.RUNNING else memory
            after_ = _put(world, who, host._replace(memory=kept, barred=True, ran=False))
            after_ = after_._replace(left=left._replace(lapses=left.lapses - 1))
            yield Move(who, ("loses its lease",), Kind.FAULT, after_)

    def _next_effect(self, world: World, who: int, host: Host) -> Move:
        effect, host = host.todo[0], host._replace(todo=host.todo[1:])
        kind, flaw = host.memory.kind, ""
        after = _put(world, who, host)  # an effect whose process has died in between is in vain
        if host.barred and self.rules.guards and isinstance(effect, handoff.Resume | handoff.Boot):
            return Move(who, ("is not let do", effect), Kind.PLAIN, after)
        if isinstance(effect, Token):
            after = _put(world, who, host._replace(token=effect))
        elif isinstance(effect, handoff.Send):
            after = after._replace(letters=world.letters | {_letter(who, effect)})
        elif isinstance(effect, handoff.Discard):
            after = _put(world, who, host._replace(memory=Memory()))
        elif isinstance(effect, handoff.Resume) and kind in (Copy.COMPLETE, Copy.PARTIAL):
            if host.memory.behind:
                flaw = "a copy resumes that is older than what has run"
            elif kind is Copy.PARTIAL:
                flaw = "a copy resumes that is not whole"
            after = _runs(world, who, host)
        elif isinstance(effect, handoff.Boot) and kind is Copy.NONE:
            after = _runs(world, who, host)
        return Move(who, ("does", effect), Kind.PLAIN, after, flaw)

    def _refusal(self, world: World, who: int, host: Host) -> Iterator[Move]:
        """QEMU does not let its copy run, or has died before it was told to: it never ran, and its agent knows."""
        kind, left = host.memory.kind, world.left
        free = host.barred and self.rules.guards
        refused = kind is Copy.COMPLETE and left.refusals > 0 and not free
        if host.todo[0] != handoff.Resume() or not (refused or free or kind is Copy.NONE):
            return
        after = _put(world, who, host._replace(todo=host.todo[1:]))
        after = after._replace(left=left._replace(refusals=left.refusals - refused))
        told = list(self._event(after, who, handoff.NeverRan()))
        for move in told:
            yield move._replace(what=("cannot resume its copy", *move.what), kind=Kind.FAULT)
        if not told:
            yield Move(who, ("cannot resume its copy",), Kind.FAULT, after)

    def _agent(self, world: World, who: int, host: Host) -> Iterator[Move]:
        """Ticks, letters, what peers and the decider know, and what the engine may tell at any time."""
        yield from self._carry_on(world, who, ("ticks",), self.rules.pending(host.token, host.memory.kind))
        for letter in world.letters:
            if letter.to != who or (letter.sender == world.shunned and self.rules.shuns):
                continue
            if not isinstance(letter.message, Report):
                yield from self._event(world, who, letter.message, NAMES[letter.sender])
            elif letter.message.migration == host.token.migration:
                cold = host.token.migration.startswith(COLD)
                if not (cold and host.unheard and self.rules.cold_only_of_this_boot):
                    yield from self._event(world, who, handoff.BothComplete(letter.message.migration, cold))
        yield from self._event(world, who, handoff.GiveUp())
        if host.memory.kind is Copy.NONE and not self.rules.knows_what_ran:
            yield from self._event(world, who, handoff.NeverRan())
        yield from self._peers(world, who, host)
        if host.token.phase in MAY_RUN and (not host.unheard or not self.rules.hears_after_reboot):
            yield from self._event(world, who, handoff.Start())
        if world.begun < world.left.migrations and host.token.phase is Phase.OWNER and not host.unheard:
            for peer in _others(world, who):
                yield from self._event(world, who, handoff.Begin(NAMES[peer], f"m{world.begun + 1}"))
        if world.begun_cold < world.left.cold and not host.unheard:
            for peer in _others(world, who):
                begin = handoff.Begin(NAMES[peer], f"{COLD}{world.begun_cold + 1}", cold=True)
                yield from self._event(world, who, begin)

    def _peers(self, world: World, who: int, host: Host) -> Iterator[Move]:
        """What a rebooted host learns from the others, and what the decider tells while one is off."""
        rules = self.rules
        others = [(peer, world.hosts[peer]) for peer in _others(world, who)]
        favoured, epoch = world.decided
        recorded = epoch if favoured != who and rules.remembers else 0
        off = [peer for peer, other in others if other.is_proved()]
        if host.unheard and (rules.starts_on_the_record or not off):
            yield from self._hearing(world, who, recorded)
        claims = [
            _claim(rules, other) for _, other in others if not other.is_proved() and rules.asks_everybody
        ]
        for peer, other in others:
            # Whoever has no power need not be asked: what it had is lost, and it asks before it starts anything.
            dark = all(one == peer or not world.hosts[one].on for one in off)
            told = other.is_proved() and (dark or not rules.asks_everybody)
            if told or (other.unheard and not rules.proof_holds):
                event = handoff.PeerFenced(NAMES[peer], "it is off", max([recorded, *claims]))
                yield from self._event(world, who, event)
                yield from self._inherits(world, who, peer)
            if not other.on and len(others) == 1:
                yield from self._recovered(world, who, peer)

    def _inherits(self, world: World, who: int, dead: int) -> Iterator[Move]:
        """The decider makes an heir of a host that has nothing, where none of the others has anything either."""
        rules, others = self.rules, [host for n, host in enumerate(world.hosts) if n != dead]
        living = [host for host in others if host.on]
        if rules.asks_everybody and any(host.token.phase is not Phase.ABSENT for host in living):
            return
        heard = living if rules.asks_everybody else [world.hosts[who]]
        dark = len(living) < len(others)
        epoch = rules.heirs_epoch([_claim(rules, host) for host in heard], world.decided[1], dark)
        yield from self._event(world, who, handoff.TakeOver(NAMES[dead], "it is off", epoch))

    def _recovered(self, world: World, who: int, dead: int) -> Iterator[Move]:
        """The decider reads both journals, also that of the host without power, and resumes by the table."""
        own, other = world.hosts[who].token, world.hosts[dead].token
        ruling = recovery.decide(own, other, source_dead=False, target_dead=True)
        if ruling.verdict is recovery.Verdict.RESUME_SOURCE:
            yield from self._event(world, who, recovery.resume_event(own), NAMES[dead])

    def _hearing(self, world: World, who: int, recorded: int) -> Iterator[Move]:
        """After a reboot: the peers' own words, or the decider's record where a peer is off."""
        host, highest = world.hosts[who], recorded
        mine = self.rules.owned(host.token)
        for peer in _others(world, who):
            token, on, ran = world.hosts[peer].token, world.hosts[peer].on, world.hosts[peer].ran
            highest = max(highest, token.epoch if on else 0)
            newer = takeover.is_newer(token, mine, NAMES[who], ran=ran, first=peer < who)
            if on and mine and newer and self.rules.outbids:
                highest = max(highest, mine + 1)
                yield from self._event(world, peer, handoff.Outbid(mine, NAMES[who]))
            if on and (epoch := self.rules.owned(token)):
                claimed = handoff.PeerEpoch(epoch, NAMES[peer])
                yield from self._event(world, who, claimed, NAMES[peer])
        yield from self._event(world, who, handoff.Start(peers_highest=highest))
        if highest <= host.token.epoch:
            heard = _put(world, who, host._replace(unheard=False))
            yield Move(who, ("hears that nobody knows anything newer",), Kind.PLAIN, heard)

    def _event(self, world: World, who: int, event: handoff.Event, sender: str = "") -> Iterator[Move]:
        """The world after the journal write; the effects wait in `todo`, where a crash can hit them."""
        host = world.hosts[who]
        token, effects = _cached(self.rules.react, host.token, event, host.memory.kind, sender)
        what = (event, sender, token)
        if token is host.token or token == host.token:
            yield from self._carry_on(world, who, what, effects)
            return
        todo = _unsent(world, who, effects)
        if self.rules.journal_first:
            changed = host._replace(token=token, todo=todo)
        else:
            changed = host._replace(todo=(*todo, token))
        if token.phase is Phase.OWNER and host.memory.kind is not Copy.NONE:
            changed = changed._replace(unheard=False)  # its copy came after the reboot, from the owner
        after = _put(world, who, changed)
        if isinstance(event, handoff.PeerFenced | handoff.TakeOver) and token.phase is Phase.OWNER:
            after = after._replace(decided=(who, token.epoch))
        if isinstance(event, handoff.PeerFenced | handoff.TakeOver):
            named = event.peer if isinstance(event, handoff.PeerFenced) else event.owner
            lost = NAMES.index(named)
            after = after._replace(shunned=lost) if world.hosts[lost].barred else after
        if isinstance(event, handoff.Begin):
            after = after._replace(
                begun=world.begun + (not event.cold), begun_cold=world.begun_cold + event.cold
            )
        kind = Kind.NEW_WORK if isinstance(event, handoff.Begin) else Kind.PLAIN
        flaw = "the epoch in a journal falls" if token.epoch < host.token.epoch else ""
        yield Move(who, what, kind, after, flaw)

    def _carry_on(
        self, world: World, who: int, what: tuple[object, ...], effects: tuple[handoff.Effect, ...]
    ) -> Iterator[Move]:
        """Effects without a journal write. One letter leaves at once: a crash before it changes nothing."""
        todo = _unsent(world, who, effects)
        if len(todo) == 1 and isinstance(todo[0], handoff.Send):
            yield Move(who, what, Kind.PLAIN, world._replace(letters=world.letters | {_letter(who, todo[0])}))
        elif todo:
            yield Move(who, what, Kind.PLAIN, _put(world, who, world.hosts[who]._replace(todo=todo)))

    def _qemu(self, world: World, who: int, host: Host) -> Iterator[Move]:
        """The copy itself: the source stops, a copy arrives at the target and becomes whole."""
        token, memory = host.token, host.memory
        if token.phase is Phase.OFFERED and memory.kind is Copy.RUNNING:
            stopped = host._replace(memory=memory._replace(kind=Copy.COMPLETE))
            yield Move(who, ("stops its guest for the blackout",), Kind.PLAIN, _put(world, who, stopped))
        if token.phase is not Phase.INCOMING:
            return
        if memory.kind is Copy.COMPLETE:
            report = Letter(who, NAMES.index(token.peer), Report(token.migration))
            reported = world._replace(letters=world.letters | {report})
            yield Move(who, ("reports that its copy is whole",), Kind.PLAIN, reported)
        source = world.hosts[NAMES.index(token.peer)]
        offers = source.token.phase is Phase.OFFERED and source.token.migration == token.migration
        if source.on and offers and memory.kind is Copy.NONE and token.migration.startswith(COLD):
            booted = host._replace(memory=Memory(Copy.COMPLETE))
            yield Move(who, ("makes ready to start it from its disks",), Kind.PLAIN, _put(world, who, booted))
        if not source.on or not offers or source.memory.kind is Copy.NONE:
            return
        if memory.kind is Copy.NONE:
            empty = host._replace(memory=Memory(Copy.PARTIAL))
            yield Move(who, ("starts an empty copy",), Kind.PLAIN, _put(world, who, empty))
        if memory.kind is Copy.PARTIAL and source.memory.kind is Copy.COMPLETE:
            whole = host._replace(memory=source.memory)
            yield Move(who, ("has the whole copy",), Kind.PLAIN, _put(world, who, whole))


def _others(world: World, who: int) -> Iterable[int]:
    return (peer for peer in range(len(world.hosts)) if peer != who)


def _claim(rules: Rules, host: Host) -> int:
    return handoff.claim(host.token, host.memory.kind) if rules.counts_grants else host.token.epoch


def _put(world: World, who: int, host: Host) -> World:
    return world._replace(hosts=(*world.hosts[:who], host, *world.hosts[who + 1 :]))


def _runs(world: World, who: int, host: Host) -> World:
    """The guest runs here from now on, so every other copy falls behind."""
    hosts = [
        other if other.memory.kind is Copy.NONE else other._replace(memory=other.memory._replace(behind=True))
        for other in world.hosts
    ]
    hosts[who] = host._replace(memory=Memory(Copy.RUNNING), unheard=False, ran=True)
    return world._replace(hosts=tuple(hosts))


def _letter(who: int, send: handoff.Send) -> Letter:
    return Letter(who, NAMES.index(send.to), send.message)


def _unsent(world: World, who: int, effects: tuple[handoff.Effect, ...]) -> tuple[handoff.Effect, ...]:
    """Without the letters that the network holds already."""
    if not effects:
        return ()
    return tuple(
        effect
        for effect in effects
        if not isinstance(effect, handoff.Send) or _letter(who, effect) not in world.letters
    )


@cache
def _cached(
    react: Callable[[Token, handoff.Event, Copy, str], handoff.Reaction],
    token: Token,
    event: handoff.Event,
    copy: Copy,
    sender: str,
) -> tuple[Token, tuple[handoff.Effect, ...]]:
    """`react` is pure, so each question is asked once; the same few come up in very many worlds."""
    reaction = react(token, event, copy, sender)
    effects = tuple(effect for effect in reaction.effects if not isinstance(effect, handoff.Refuse))
    return reaction.token, effects
