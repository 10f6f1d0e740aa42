"""How a host takes over a guest of which it has nothing, once the guest's owner is proved to be off. Pure.

It must never make an heir of a host that has a part in the guest already: what such a host holds is for
`handoff.react` to settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from segue.model.handoff import Copy, Discard, Phase, Reaction, Refuse, TakeOver, Token

STEP: Final = 3
"""A grant on its way may still make another host write one epoch more, and handing it back one more again."""


def epoch(claims: Iterable[int], recorded: int) -> int:
    """What the heir writes. claims: `handoff.claim` of every host but the dead one, each of which has answered.

    recorded: the highest epoch that the decider knows of the guest, from reports and from what it gave away itself.
    """
    return max(recorded, *claims, 0) + STEP


def react(token: Token, event: TakeOver, copy: Copy) -> Reaction:
    """Said again it changes nothing. What lies here of an earlier visit goes first: it is older than its disks."""
    if not event.proof:
        return _refuse(token, "a takeover counts only with its proof")
    if token.phase is Phase.OWNER and (token.epoch, token.peer) == (event.epoch, ""):
        return Reaction(token)
    if token.phase is not Phase.ABSENT:
        return _refuse(
            token, f"the guest is {token.phase} here at epoch {token.epoch}: that is settled first"
        )
    if event.epoch < token.epoch + STEP:
        return _refuse(token, f"epoch {event.epoch} is not {STEP} above {token.epoch}, which was seen here")
    if copy is not Copy.NONE:
        return Reaction(token, (Discard(),), again=True)
    return Reaction(Token(Phase.OWNER, event.epoch, "", token.migration))


def _refuse(token: Token, reason: str) -> Reaction:
    return Reaction(token, (Refuse(reason),))
