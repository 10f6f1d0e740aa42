"""What becomes of a guest whose handoff was cut off, from the two journals; it must never guess.

One total table. It is asked when a host is proved dead, or when a person wants to know where a guest stands.
A host that is neither dead nor readable may be running the guest at this moment: then the answer is WAIT, and
fencing that host or mending the link comes first. A copy is resumed only where the journals prove that nothing
ran after it was made; a dead host has no copy, and where the proof is missing the guest restarts from disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from segue.model.handoff import GiveUp, Grant, Phase, Token


class Verdict(StrEnum):
    RESUME_SOURCE = "resume_source"
    RESUME_TARGET = "resume_target"
    RESTART_FROM_DISK_AT_SOURCE = "restart_from_disk_at_source"
    RESTART_FROM_DISK_AT_TARGET = "restart_from_disk_at_target"
    WAIT = "wait"  # fence or mend first
    NOTHING = "nothing"  # the owner is known and needs no help


@dataclass(frozen=True)
class Ruling:
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class _Side:
    token: Token | None
    dead: bool
    name: str
    resume: Verdict
    restart: Verdict


def decide(source: Token | None, target: Token | None, source_dead: bool, target_dead: bool) -> Ruling:
    """The verdict on one guest and two hosts; None is a journal that cannot be read.

    dead: proved to have no power, from before its journal is read until the verdict is carried out.
    A verdict to resume is carried out by `resume_event`, one to restart by `PeerFenced`; `handoff.react`
    compares the numbers once more, so a verdict from journals that have moved on since does no harm.
    """
    one = _Side(source, source_dead, "source", Verdict.RESUME_SOURCE, Verdict.RESTART_FROM_DISK_AT_SOURCE)
    two = _Side(target, target_dead, "target", Verdict.RESUME_TARGET, Verdict.RESTART_FROM_DISK_AT_TARGET)
    if source_dead and target_dead:
        return _wait("neither host has power")
    if source is None and target is None:
        return _wait("neither journal can be read")
    if source is None or target is None:
        return _one_journal(*((two, one) if source is None else (one, two)))
    return _two_journals(one, source, two, target)


def resume_event(token: Token) -> Grant | GiveUp:
    """What makes the host with this token resume; a Grant is given in the name of the token's peer.

    A verdict to resume says that the peer's journal stands behind this grant: it has released the token, or
    it has died without ever taking it.
    """
    if token.phase is Phase.OFFERED:
        return GiveUp(token.migration)
    return Grant(token.epoch + 1, token.migration)


def _one_journal(known: _Side, unread: _Side) -> Ruling:
    """Only what the readable journal says about its own host is certain."""
    token = known.token
    assert token is not None
    if known.dead:
        return _wait(f"the {unread.name}'s journal cannot be read, and the {known.name} has no power")
    if token.phase is Phase.OFFERED and unread.dead:
        return Ruling(known.resume, f"the {known.name} never released the guest")
    if token.phase in _MAY_RUN:
        return Ruling(Verdict.NOTHING, f"the {known.name} owns the guest at epoch {token.epoch}")
    if token.phase is Phase.ABSENT:
        return _wait(f"the {known.name} has nothing of the guest, and the {unread.name} cannot be read")
    if not unread.dead:
        return _wait(f"the {unread.name} may run the guest: fence it, or make it readable")
    return Ruling(known.restart, f"the {unread.name} is dead, but may have run the guest before")


def _two_journals(one: _Side, first: Token, two: _Side, second: Token) -> Ruling:
    if first.phase in _MAY_RUN or second.phase in _MAY_RUN:
        first_owns = first.phase in _MAY_RUN and (second.phase not in _MAY_RUN or first.epoch >= second.epoch)
        return _with_owner(one, first, two, second) if first_owns else _with_owner(two, second, one, first)
    if first.phase is Phase.RELEASED and first.epoch > second.epoch:
        return _released(one, first, two, second)
    if second.phase is Phase.RELEASED and second.epoch > first.epoch:
        return _released(two, second, one, first)
    return _wait("neither journal owns or released the guest last: a third host may own it")


def _with_owner(owner: _Side, owned: Token, other: _Side, token: Token) -> Ruling:
    """One host may run it. It is believed only if the other journal has seen nothing newer."""
    if token.epoch > owned.epoch or (token.phase in _MAY_RUN and token.epoch == owned.epoch):
        return _wait(f"the {other.name} has seen epoch {token.epoch}, so the {owner.name} owns it no longer")
    if not owner.dead and owned.phase is Phase.OWNER:
        return Ruling(Verdict.NOTHING, f"the {owner.name} owns the guest at epoch {owned.epoch}")
    if not owner.dead:
        return Ruling(owner.resume, f"the {owner.name} never released the guest")
    if token.epoch == owned.epoch and token.phase in (Phase.INCOMING, Phase.RELEASED):
        return Ruling(other.restart, f"the {owner.name} owned the guest, may have run it, and is dead")
    return _wait(f"the {owner.name} owns the guest and has no power; it restarts when the host returns")


def _released(giver: _Side, given: Token, taker: _Side, token: Token) -> Ruling:
    """The token is between the two: `given` is the last grant that was written."""
    same = given.migration == token.migration and given.epoch == token.epoch + 1
    if same and token.phase in (Phase.INCOMING, Phase.RELEASED):
        if not taker.dead:
            return Ruling(taker.resume, f"the {giver.name} granted epoch {given.epoch}, nobody ran it since")
        if token.phase is Phase.INCOMING:
            return Ruling(giver.resume, f"the {taker.name} died before it took the grant, so it never ran")
        return Ruling(giver.restart, f"the {taker.name} died with the memory that it was handed back")
    if taker.dead:
        return Ruling(giver.restart, f"the {taker.name} is dead, and its journal does not say what it ran")
    return _wait(f"the {taker.name}'s journal has lost epoch {given.epoch}: fence that host")


def _wait(reason: str) -> Ruling:
    return Ruling(Verdict.WAIT, reason)


_MAY_RUN = (Phase.OWNER, Phase.OFFERED)
