"""What this host answers to another that asks who owns a guest. It must never call what it has newer than it is."""

from __future__ import annotations

import structlog

from segue.agent.keeper import Keeper
from segue.agent.services import Services
from segue.model.handoff import Outbid
from segue.policy import handoff, takeover
from segue.wire.messages import Claim

log = structlog.get_logger()


async def answer(services: Services, keeper: Keeper, mine: int, asker: str) -> Claim:
    """The epoch that is owned here, and the highest that could be. mine: what the asker owns and has not run since its
    boot; 0 where it does not say so. Where ours is newer it gets the higher number, before this is answered."""
    is_newer = False
    if mine and keeper.guest is not None:
        ran = services.lease.lives and services.journal.ran_since_boot(keeper.guest.name)
        is_newer = takeover.is_newer(keeper.token, mine, asker, ran=ran, first=services.config.name < asker)
    if is_newer:
        log.warning("the guest is owned elsewhere, too", guest=keeper.uuid, host=asker, epoch=mine)
        await keeper.tell(Outbid(mine, asker))
    highest = handoff.claim(keeper.token, keeper.copy())
    return Claim(handoff.owned(keeper.token), max(highest, mine + 1) if is_newer else highest)
