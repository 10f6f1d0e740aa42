"""What other hosts say of a guest that may live elsewhere: after a loss of power all are asked before it starts.

It must never leave one out that any host knows of, unless whoever said so has seen that it has no power.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from segue.adapters import clock
from segue.adapters.peer import PeerClient
from segue.agent import acquaintance
from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.errors import Kind, Refused, SegueError
from segue.model.handoff import PeerEpoch, Phase
from segue.wire.messages import Claim

log = structlog.get_logger()
HEARD_S: Final = 30.0
"""So long a controller's word holds that a guest need not wait for hosts without power; a question to one that is off
takes 5 s, and several may be asked before it counts."""


@dataclass(frozen=True)
class Word:
    """A controller's: these hosts are not asked about the guest as long as it is owned here at that epoch."""

    epoch: int
    dark: frozenset[str]
    at_s: float


class Others:
    """Of one host."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._words: dict[str, Word] = {}

    def heard(self, keeper: Keeper, dark: Collection[str]) -> None:
        """A controller vouches that these hosts have no power, and were given nothing of the guest."""
        log.warning("hosts without power are not asked", guest=keeper.uuid, dark=sorted(dark))
        self._words[keeper.uuid] = Word(keeper.token.epoch, frozenset(dark), clock.steady_s())

    def forget(self) -> None:
        """What was said before a lease was over is about a time that is past."""
        self._words.clear()

    async def highest_since_boot(self, keeper: Keeper) -> int:
        """0 where our journal is certain: no other host can have taken over a guest that ran here since the boot."""
        if self._services.journal.ran_since_boot(keeper.guest_here().name):
            return 0
        return await self.highest_claim(keeper, mine=_alone_owned(keeper))

    def _dark(self, keeper: Keeper) -> frozenset[str]:
        word = self._words.get(keeper.uuid)
        holds = word is not None and word.epoch == _alone_owned(keeper)
        return word.dark if word and holds and clock.steady_s() - word.at_s < HEARD_S else frozenset()

    async def highest_claim(self, keeper: Keeper, without: Collection[str] = (), mine: int = 0) -> int:
        """Of every host that we know, or that one of those knows."""
        assert keeper.guest is not None
        highest, asked = 0, {*without}
        while rest := [peer for name, peer in self._services.peers.items() if name not in asked]:
            known = acquaintance.digest(self._services)
            for peer in rest:
                asked.add(peer.name)
                if acquaintance.is_removed(self._services, peer.name):
                    continue
                try:
                    highest = max(highest, (await self._claim(peer, keeper, mine, known)).highest)
                except (ConnectionError, TimeoutError) as error:
                    if peer.name in self._dark(keeper):
                        continue
                    raise _not_sure(keeper.guest.name, peer.name, error) from error
        return highest

    async def successor(self, keeper: Keeper) -> PeerEpoch | None:
        """A host that owns it at a higher epoch. Who does not answer is asked again with the next tick."""
        known = acquaintance.digest(self._services)
        for peer in list(self._services.peers.values()):
            try:
                claim = await self._claim(peer, keeper, _alone_owned(keeper), known)
            except (ConnectionError, TimeoutError, SegueError):
                continue
            if claim.owned > keeper.token.epoch:
                return PeerEpoch(claim.owned, peer.name)
        return None

    async def _claim(self, peer: PeerClient, keeper: Keeper, mine: int, known: str) -> Claim:
        """What it has of the guest; hosts that it knows and we do not are met by the way."""
        claim = await peer.claim(keeper.uuid, mine, known)
        acquaintance.meet(self._services, claim.hosts)
        return claim


def _alone_owned(keeper: Keeper) -> int:
    """The epoch at which it is owned here, with nobody who could still get it back; 0 for none."""
    return keeper.token.epoch if keeper.token.phase is Phase.OWNER and not keeper.token.peer else 0


def _not_sure(name: str, peer: str, error: Exception) -> Refused:
    return Refused(
        what=f"{name} is not started",
        why=f"it may have moved before this host lost power, and {peer} cannot be asked ({error})",
        todo=f"Bring {peer} back. Once you are sure that it does not run {name}: `segue host revoke {peer}`, or, "
        "without a controller, take it out of [peers].",
        kind=Kind.UNREACHABLE,
    )
