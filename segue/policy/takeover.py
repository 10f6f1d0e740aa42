"""How a host takes over a guest of which it has nothing, once the guest's owner is proved to be off. Pure.

It must never make an heir of a host that has a part in the guest already: what such a host holds is for
`handoff.react` to settle.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from segue.model.crash import Deed
from segue.model.fleet import Fleet, FleetGuest
from segue.model.guest import Guest
from segue.model.handoff import Copy, Discard, Outbid, Phase, Reaction, Refuse, TakeOver, Token

STEP: Final = 3
"""A grant on its way may still make another host write one epoch more, and handing it back one more again."""
FAR: Final = 1000
"""More handoffs than two hosts make between themselves, and that nobody heard of, before both lose their power."""


def is_covered(guest: Guest) -> bool:
    """Whether another host may take it over by a lease that is over, so that its own host ends it. Both go by this."""
    return guest.on_crash.host is not Deed.LEAVE and not at_home(guest)


def at_home(guest: Guest) -> str:
    """What of an application lies on the disk of its host alone, without which no other host starts it; empty for
    nothing. What it wrote beside its volumes, and those that its image asks for, does not count: it begins anew with
    what its image holds."""
    if guest.app is None:
        return ""
    own = [*(volume.path for volume in guest.app.volumes if not volume.source), *guest.app.keeps]
    return f"its volume {', '.join(own)}" if own else ""


def anew(guest: FleetGuest) -> FleetGuest:
    """As planners see it that it starts from its disks or image: nothing of its processes has to fit."""
    needs = replace(guest.needs, disk_bytes=0)
    return replace(guest, host="", pinned="", moving_to="", needs=needs, cpu_features=frozenset())


def open_to_all(seen: Fleet) -> Fleet:
    """The same of hosts: one that cannot restore an application can start it."""
    return replace(seen, hosts=tuple(replace(host, takes_no_apps="") for host in seen.hosts))


def epoch(claims: Iterable[int], recorded: int, dark: bool = False) -> int:
    """What the heir writes. claims: `handoff.claim` of every host but the dead one, each of which has answered.

    recorded: the highest epoch that the decider knows of the guest, from reports and from what it gave away itself.
    dark: another host was not asked, as it is proved to have no power either.
    """
    return max(recorded, *claims, 0) + (FAR if dark else STEP)


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


def is_newer(token: Token, epoch: int, asker: str, *, ran: bool, first: bool) -> bool:
    """Whether what is here comes after what a host owns at that epoch and has not run since it had no power.

    ran: the guest has run here since this host's boot, or lease. Its epoch may be the lower one nevertheless: who takes
    over knows a bound for the epoch of the dead, but not for one that the dead took by a takeover of its own that
    nobody heard of. But nobody can have taken a guest from a host that has run it and never been without power since.
    first: this host wins where neither has run it and the epochs are the same. What was given to the asker is not.
    """
    given = token.phase is Phase.RELEASED and token.peer == asker
    if given or token.phase not in (Phase.OWNER, Phase.OFFERED, Phase.RELEASED):
        return False
    return (ran and token.epoch <= epoch) or (first and (token.phase, token.epoch) == (Phase.OWNER, epoch))


def outbid(token: Token, event: Outbid) -> Reaction:
    """A move that is under way comes to its end first: its messages go by this epoch."""
    if token.phase is not Phase.OWNER or token.peer or event.epoch < token.epoch:
        return Reaction(token)
    return Reaction(replace(token, epoch=event.epoch + 1))


def _refuse(token: Token, reason: str) -> Reaction:
    return Reaction(token, (Refuse(reason),))
