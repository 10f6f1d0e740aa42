"""Who may run a guest while it changes hosts: the rule that there are never two copies, and never none.

The module is one pure function, `react`, and its companion `pending`; they must never read a clock or guess
what the other side does. The agents run them, and `tests/policy/explorer.py` runs them through every
interleaving of lost, doubled and late messages with crashes at every point.

Why never two: of all hosts only the owner's journal allows the guest to run. The owner gives that up in one
durable write (`RELEASED`), and only after that write can a `Grant` exist. Whoever takes a grant writes an
epoch that is higher than any before, so every older message is recognised by its number and is harmless.
Why never none: a released token is either taken by the target, or handed back by it, and each side repeats
its half until the other has answered. The answer is read from the journal and never changes. A target confirms
only a guest that runs: until then the source keeps its copy, and gets the guest back if it cannot run there.

The caller owes seven things. It gives one guest's events one at a time, and writes the token of a reaction
(fsync) BEFORE it carries out the effects, in their order. It gives migrations ids that are never used twice.
It lets a source that was stopped for the blackout run again only by `GiveUp`. After a reboot of its host it
lets nothing start until the peers have been heard (`Start.peers_highest`, `PeerEpoch`). It says of a copy that it
never ran only when it knows (`NeverRan`). It tells a fencing only while the host is off, with the claims of all others
that have power (`PeerFenced`). And it gives away what crashed (`Begin.cold`) only where that has run since the boot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from segue.model.handoff import (
    HERE,
    MESSAGES,
    Ask,
    Begin,
    Boot,
    BothComplete,
    Confirm,
    Copy,
    Created,
    Discard,
    Effect,
    Event,
    GiveUp,
    Grant,
    Message,
    NeverRan,
    Offer,
    Outbid,
    PeerEpoch,
    PeerFenced,
    Phase,
    Reaction,
    Refuse,
    Resume,
    Send,
    Start,
    Succeeded,
    TakeOver,
    Token,
    Withdraw,
)
from segue.policy import in_place, takeover

__all__ = [
    "MESSAGES",
    "TAKEOVER_STEP",
    "Ask",
    "Begin",
    "Boot",
    "BothComplete",
    "Confirm",
    "Copy",
    "Created",
    "Discard",
    "Effect",
    "Event",
    "GiveUp",
    "Grant",
    "Message",
    "NeverRan",
    "Offer",
    "Outbid",
    "PeerEpoch",
    "PeerFenced",
    "Phase",
    "Reaction",
    "Refuse",
    "Resume",
    "Send",
    "Start",
    "TakeOver",
    "Token",
    "Withdraw",
    "claim",
    "owned",
    "pending",
    "react",
]

TAKEOVER_STEP: Final = takeover.STEP


def react(token: Token, event: Event, copy: Copy, sender: str = "") -> Reaction:
    """What the journal becomes and what is to be done; `sender` is the authenticated host of a message."""
    match event:
        case Start() | BothComplete() | GiveUp() | NeverRan() | Succeeded() if token.peer == HERE:
            return in_place.react(token, event, copy)
        case Succeeded():
            return _refuse(token, "the guest does not change its QEMU here")
        case Offer() | Ask() | Withdraw() | Grant() | Confirm():
            return _on_message(token, event, copy, sender)
        case PeerFenced() | TakeOver() | Outbid():
            return _on_fencing(token, event, copy)
        case PeerEpoch():
            return _on_peer_epoch(token, event, copy)
        case _:
            return _on_local(token, event, copy)


def pending(token: Token, copy: Copy) -> tuple[Effect, ...]:
    """What is to be done again after a restart of the agent and at each tick; all of it is idempotent.

    An OFFERED source that stands still is not resumed here: its target may be complete, and a source that
    runs on would make that copy stale. The engine ends that state with BothComplete or GiveUp.
    """
    match token.phase:
        case Phase.ABSENT:
            return _discard_if_any(copy)
        case Phase.OWNER:
            return (Resume(),) if copy is Copy.COMPLETE else ()
        case Phase.OFFERED:
            return (Send(token.peer, Offer(token.epoch, token.migration)),)
        case Phase.RELEASED:
            return (Send(token.peer, Grant(token.epoch, token.migration)),)
        case Phase.INCOMING:
            return (Send(token.peer, Ask(token.epoch, token.migration)),)


def claim(token: Token, copy: Copy) -> int:
    """The highest epoch at which this host runs the guest, or could with a grant that is on its way to it.

    The decider collects this from every other host before it tells a fencing (`PeerFenced.highest`). A target
    with a copy counts for one more than its journal; GiveUp drops the copy and with it that claim.
    """
    return token.epoch + (token.phase is Phase.INCOMING and copy is not Copy.NONE)


def owned(token: Token) -> int:
    """The epoch with which this host may say of itself that it owns the guest (`PeerEpoch`); 0 for none.

    That word confirms as `Confirm` does, so an owner that may still hand the guest back does not say it.
    """
    confirmed = token.phase is Phase.OFFERED or (token.phase is Phase.OWNER and not token.peer)
    return token.epoch if confirmed else 0


def _on_message(token: Token, message: Message, copy: Copy, sender: str) -> Reaction:
    if not sender:
        return _refuse(token, "a message counts only with its authenticated sender")
    match message:
        case Offer():
            return _on_offer(token, message, copy, sender)
        case Ask():
            return _on_ask(token, message, sender)
        case Withdraw():
            return _on_withdraw(token, message, copy, sender)
        case Grant():
            return _on_grant(token, message, copy, sender)
        case Confirm():
            return _on_confirm(token, message, copy, sender)


def _on_local(
    token: Token, event: Created | Start | Begin | BothComplete | GiveUp | NeverRan, copy: Copy
) -> Reaction:
    match event:
        case Created():
            return _on_created(token, event)
        case Start():
            return _on_start(token, event, copy)
        case Begin():
            return _on_begin(token, event, copy)
        case BothComplete():
            return _on_both_complete(token, event, copy)
        case GiveUp():
            return _on_give_up(token, event, copy)
        case NeverRan():
            return _on_never_ran(token, event, copy)


def _on_offer(token: Token, offer: Offer, copy: Copy, sender: str) -> Reaction:
    """An offer is taken only where no other copy is left: an old copy could later pass for the new one."""
    if token.phase is Phase.RELEASED and sender == token.peer and offer.epoch >= token.epoch:
        # Only who took our grant can offer this epoch, so it confirms; given again, it finds us empty.
        absent = Token(Phase.ABSENT, offer.epoch, "", token.migration)
        return Reaction(absent, _discard_if_any(copy), again=True)
    if token.phase is Phase.INCOMING and _same(token, offer, sender):
        return Reaction(token)
    if token.phase is not Phase.ABSENT:
        return _refuse(token, f"the guest is {token.phase} here at epoch {token.epoch}")
    if offer.epoch < token.epoch:
        return _refuse(token, f"epoch {offer.epoch} is over, {token.epoch} has been seen here")
    if copy is not Copy.NONE:
        return Reaction(token, (Discard(),), again=True)
    return Reaction(Token(Phase.INCOMING, offer.epoch, sender, offer.migration))


def _on_ask(token: Token, ask: Ask, sender: str) -> Reaction:
    """Answered from the journal alone, so the answer to one migration never changes.

    A journal with a lower epoch than the asker's has lost its memory, and no answer is better than a guess.
    """
    if token.phase is Phase.OFFERED and _same(token, ask, sender):
        return Reaction(token)
    if token.phase is Phase.RELEASED and _same(token, replace(ask, epoch=ask.epoch + 1), sender):
        return Reaction(token, (Send(sender, Grant(token.epoch, token.migration)),))
    if ask.epoch > token.epoch:
        return _refuse(token, f"epoch {ask.epoch} is not known here, the journal ends at {token.epoch}")
    return Reaction(token, (Send(sender, Withdraw(ask.epoch, ask.migration)),))


def _on_withdraw(token: Token, withdraw: Withdraw, copy: Copy, sender: str) -> Reaction:
    if token.phase is not Phase.INCOMING or not _same(token, withdraw, sender):
        return _refuse(token, "no such migration comes in here")
    return Reaction(Token(Phase.ABSENT, token.epoch, "", token.migration), _discard_if_any(copy))


def _on_grant(token: Token, grant: Grant, copy: Copy, sender: str) -> Reaction:
    """Take the token, hand it back, or say again that it has arrived.

    A grant for a guest that is ABSENT with a lower epoch finds a journal that has lost its memory: this host
    may have run the guest, so handing the token back could make the source resume a stale copy.
    """
    if token.phase is Phase.OWNER and _same(token, grant, sender):
        return _confirm_what_runs(token, grant, copy, sender)
    if grant.epoch <= token.epoch:
        return Reaction(token, (Send(sender, _answer_to_old(token, grant, sender)),))
    if not _same(token, replace(grant, epoch=grant.epoch - 1), sender):
        return _refuse(token, f"epoch {grant.epoch} was not awaited from {sender}")
    if token.phase is Phase.RELEASED:
        return _take_back(token, grant, copy, sender)
    if token.phase is Phase.INCOMING and copy is not Copy.RUNNING:
        return _take(token, grant, copy, sender)
    return _refuse(token, f"a grant has no place where the guest is {token.phase} and {copy}")


def _take(token: Token, grant: Grant, copy: Copy, sender: str) -> Reaction:
    """The guest is ours if its copy is whole, and confirmed when it runs; without a copy it goes back."""
    if copy is Copy.COMPLETE:
        taken = Token(Phase.OWNER, grant.epoch, sender, grant.migration)
        return Reaction(taken, (Resume(),), again=True)
    back = replace(token, phase=Phase.RELEASED, epoch=grant.epoch + 1)
    return Reaction(back, (Send(sender, Grant(back.epoch, back.migration)), *_discard_if_any(copy)))


def _confirm_what_runs(token: Token, grant: Grant, copy: Copy, sender: str) -> Reaction:
    """A taken guest that does not run yet is not confirmed: once its giver has put its copy away, there is
    no way back. The journal says that it is confirmed before the giver can hear of it."""
    if copy is Copy.COMPLETE:
        return Reaction(token, (Resume(),), again=True)
    return Reaction(replace(token, peer=""), (Send(sender, Confirm(grant.epoch, grant.migration)),))


def _take_back(token: Token, grant: Grant, copy: Copy, sender: str) -> Reaction:
    """The guest is ours again: it resumes if its copy is whole, else it has crashed and its owner restarts it.

    The peer has no copy to give it back to, so this is confirmed at once.
    """
    owner = Token(Phase.OWNER, grant.epoch, "", token.migration)
    confirm = Send(sender, Confirm(grant.epoch, grant.migration))
    return Reaction(owner, (*_resume_if_whole(copy), confirm))


def _answer_to_old(token: Token, grant: Grant, sender: str) -> Message:
    """A token that was handed back is granted back again; any other grant has been journaled here before."""
    if token.phase is Phase.RELEASED and _same(token, replace(grant, epoch=grant.epoch + 1), sender):
        return Grant(token.epoch, token.migration)
    return Confirm(grant.epoch, grant.migration)


def _on_confirm(token: Token, confirm: Confirm, copy: Copy, sender: str) -> Reaction:
    if token.phase is not Phase.RELEASED or not _same(token, confirm, sender):
        return _refuse(token, "nothing released here awaits this confirmation")
    return Reaction(Token(Phase.ABSENT, token.epoch, "", token.migration), _discard_if_any(copy))


def _on_created(token: Token, created: Created) -> Reaction:
    if token != Token() or created.epoch < 1:
        return _refuse(token, f"the guest is already known here, {token.phase} at epoch {token.epoch}")
    return Reaction(Token(Phase.OWNER, created.epoch))


def _on_start(token: Token, start: Start, copy: Copy) -> Reaction:
    if token.phase is not Phase.OWNER:
        return _refuse(token, f"only the owner may start the guest, which is {token.phase} here")
    if start.peers_highest > token.epoch:
        return _refuse(token, f"a peer knows epoch {start.peers_highest}, this host only {token.epoch}")
    if copy is not Copy.NONE:
        return _refuse(token, f"there is a copy here already, it is {copy}")
    return Reaction(replace(token, peer=""), (Boot(),))  # From here on it is not what the peer gave.


def _on_begin(token: Token, begin: Begin, copy: Copy) -> Reaction:
    if token.phase is not Phase.OWNER:
        return _refuse(token, f"only its owner can move the guest, which is {token.phase} here")
    if begin.cold and (copy is not Copy.NONE or begin.peer == HERE):
        return _refuse(token, f"only what does not run here can be started elsewhere, it is {copy}")
    if not begin.cold and copy in (Copy.NONE, Copy.PARTIAL):
        return _refuse(token, "there is nothing to copy, the guest does not run")
    if not begin.peer or not begin.migration or begin.migration == token.migration:
        return _refuse(token, "a migration needs a target and an id that was never used")
    offered = Token(Phase.OFFERED, token.epoch, begin.peer, begin.migration)
    return Reaction(offered, (Send(begin.peer, Offer(offered.epoch, offered.migration)),))


def _on_both_complete(token: Token, event: BothComplete, copy: Copy) -> Reaction:
    if token.phase is not Phase.OFFERED or event.migration not in ("", token.migration):
        return _refuse(token, f"no such migration leaves here, the guest is {token.phase}")
    if copy is not (Copy.NONE if event.cold else Copy.COMPLETE):
        wanted = "have no copy" if event.cold else "stand still and be whole"
        return _refuse(token, f"the source must {wanted}, it is {copy}")
    released = replace(token, phase=Phase.RELEASED, epoch=token.epoch + 1)
    return Reaction(released, (Send(released.peer, Grant(released.epoch, released.migration)),))


def _on_give_up(token: Token, event: GiveUp, copy: Copy) -> Reaction:
    """A target that gives up keeps its journal: only the source's word may make it forget the migration."""
    if event.migration not in ("", token.migration):
        return _refuse(token, f"migration {event.migration} is not under way here")
    if token.phase is Phase.INCOMING:
        return Reaction(token, _discard_if_any(copy))
    if token.phase is not Phase.OFFERED:
        return _refuse(token, f"there is no offer to take back, the guest is {token.phase}")
    withdraw = Send(token.peer, Withdraw(token.epoch, token.migration))
    return Reaction(_owner_again(token), (*_resume_if_whole(copy), withdraw))


def _on_never_ran(token: Token, event: NeverRan, copy: Copy) -> Reaction:
    """The giver still has its copy, and nothing ran since: it gets the guest back, once ours is gone.

    In this order, because a QEMU that could not start may already hold the lock of one of the guest's disks.
    """
    if event.migration not in ("", token.migration):
        return _refuse(token, f"migration {event.migration} is not under way here")
    if token.phase is not Phase.OWNER or not token.peer or copy is Copy.RUNNING:
        return _refuse(token, f"nobody can be given the guest back, which is {token.phase} and {copy} here")
    back = replace(token, phase=Phase.RELEASED, epoch=token.epoch + 1)
    return Reaction(back, (*_discard_if_any(copy), Send(back.peer, Grant(back.epoch, back.migration))))


def _on_fencing(token: Token, event: PeerFenced | TakeOver | Outbid, copy: Copy) -> Reaction:
    if isinstance(event, TakeOver):
        return takeover.react(token, event, copy)
    if isinstance(event, Outbid):
        return takeover.outbid(token, event)
    return _on_peer_fenced(token, event, copy)


def _on_peer_fenced(token: Token, event: PeerFenced, copy: Copy) -> Reaction:
    """The survivor takes over, without memory: what it holds may be older than what the peer ran.

    The old copy goes before the journal says OWNER. The other way round, a crash between the two would leave
    an owner with a stale copy, which the restarted agent would resume.
    """
    if not event.proof:
        return _refuse(token, "a fencing counts only with its proof")
    if event.highest > token.epoch:
        return _refuse(token, f"epoch {event.highest} is claimed, this host has only seen {token.epoch}")
    if event.peer != token.peer:
        return Reaction(token)
    if token.phase in (Phase.OWNER, Phase.OFFERED):
        return Reaction(_owner_again(token), _resume_if_whole(copy))
    if copy is not Copy.NONE:
        return Reaction(token, (Discard(),), again=True)
    return Reaction(Token(Phase.OWNER, token.epoch + TAKEOVER_STEP, "", token.migration))


def _on_peer_epoch(token: Token, event: PeerEpoch, copy: Copy) -> Reaction:
    confirms = token.phase is Phase.RELEASED and event == PeerEpoch(token.epoch, token.peer)
    if event.epoch <= token.epoch and not confirms:
        return Reaction(token)
    return Reaction(Token(Phase.ABSENT, event.epoch, "", token.migration), _discard_if_any(copy))


def _same(token: Token, message: Message, sender: str) -> bool:
    """Epoch, migration and host all agree; any two of them are not enough."""
    return (token.epoch, token.migration, token.peer) == (message.epoch, message.migration, sender)


def _owner_again(token: Token) -> Token:
    return Token(Phase.OWNER, token.epoch, "", token.migration)


def _resume_if_whole(copy: Copy) -> tuple[Effect, ...]:
    return (Resume(),) if copy is Copy.COMPLETE else ()


def _discard_if_any(copy: Copy) -> tuple[Effect, ...]:
    return (Discard(),) if copy is not Copy.NONE else ()


def _refuse(token: Token, reason: str) -> Reaction:
    return Reaction(token, (Refuse(reason),))
