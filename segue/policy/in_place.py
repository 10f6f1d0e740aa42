"""The handoff between two QEMUs of one host: the owner stays, the epoch grows, and one journal knows both.

`policy/handoff.py` calls it for a guest whose peer is HERE; it must never read a clock or guess what a process does.

Which of the two may run is in the token: OFFERED, the predecessor; OWNER with the peer HERE, the successor; OWNER
without, the only one there is. So one durable write gives the guest away and takes it, and no word can be lost.

The caller owes, beside what it owes there: it says that both are complete only when the predecessor stands and the
successor has loaded everything, and `Succeeded` only when the predecessor has ended. A QEMU beside the one that the
token names is never run, and ends where the token names no peer.
"""

from __future__ import annotations

from dataclasses import replace

from segue.model.handoff import (
    BothComplete,
    Copy,
    Effect,
    GiveUp,
    NeverRan,
    Phase,
    Reaction,
    Refuse,
    Resume,
    Start,
    StepBack,
    Succeeded,
    TakePlace,
    Token,
)

Local = Start | BothComplete | GiveUp | NeverRan | Succeeded


def react(token: Token, event: Local, copy: Copy) -> Reaction:
    """What the journal becomes and what is to be done; `copy` is what the QEMU holds that the token names."""
    if isinstance(event, Start) or event.migration not in ("", token.migration):
        return _refuse(token, f"it is changing its QEMU by {token.migration}")
    match event:
        case BothComplete() if token.phase is Phase.OFFERED:
            return _give(token, copy)
        case GiveUp() if token.phase is Phase.OFFERED:
            return Reaction(_owner(token, token.epoch), (StepBack(), *_resume_if_whole(copy)))
        case NeverRan() if token.phase is Phase.OWNER:
            return _give_back(token, copy)
        case Succeeded() if token.phase is Phase.OWNER:
            return Reaction(_owner(token, token.epoch))
        case _:
            return _refuse(token, f"it is {token.phase} here")


def _give(token: Token, copy: Copy) -> Reaction:
    if copy is not Copy.COMPLETE:
        return _refuse(token, f"the old QEMU must stand still and be whole, it is {copy}")
    return Reaction(replace(token, phase=Phase.OWNER, epoch=token.epoch + 1), (TakePlace(), Resume()))


def _give_back(token: Token, copy: Copy) -> Reaction:
    """Nothing ran since the predecessor stood; its copy is the newest that there is, once the other is gone."""
    if copy is Copy.RUNNING:
        return _refuse(token, "the new QEMU runs")
    return Reaction(_owner(token, token.epoch + 1), (StepBack(), Resume()))


def _owner(token: Token, epoch: int) -> Token:
    return Token(Phase.OWNER, epoch, "", token.migration)


def _resume_if_whole(copy: Copy) -> tuple[Effect, ...]:
    return (Resume(),) if copy is Copy.COMPLETE else ()


def _refuse(token: Token, reason: str) -> Reaction:
    return Reaction(token, (Refuse(reason),))
