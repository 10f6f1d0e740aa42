"""What the controller is told of this host, and what its word changes here: the epoch in the journal, and the peers."""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from segue.agent import acquaintance
from segue.agent.app import Agent
from segue.agent.notices import Notices
from segue.model.host import HostFacts
from segue.model.load import HostLoad
from segue.model.migration import Migration
from segue.model.roster import Decided
from segue.model.trust import SignedBarred
from segue.wire.frames import Shown

log = structlog.get_logger()
SETTLE_S = 0.05
"""What changes at once is told at once, in one frame."""


class ThisHost:
    """Fits `Here` of agent/link.py."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._changed = asyncio.Event()
        self._watching = asyncio.create_task(self._watch(agent.services.notices))

    def facts(self) -> HostFacts:
        """What the host can do, now."""
        return self._agent.guests.facts()

    def guests(self) -> list[Shown]:
        """All that have something here."""
        return self._agent.guests.shown()

    def migrations(self) -> list[Migration]:
        """Those that began here, newest first."""
        return self._agent.migrations.records()

    def load(self) -> HostLoad | None:
        """What the host and its guests use; None while it is not known."""
        return self._agent.loads.report()

    def epoch(self) -> int:
        """The highest epoch of a leader that was ever obeyed."""
        return self._agent.services.journal.leader_epoch()

    def obey(self, epoch: int) -> None:
        """From now on nothing lower; durable when it returns."""
        self._agent.services.journal.put_leader_epoch(epoch)

    def meet(self, peers: dict[str, str]) -> None:
        """Where the other hosts are. What agent.toml says of one counts more."""
        services = self._agent.services
        acquaintance.meet(services, peers)
        kept = services.journal.neighbours()
        for name, url in peers.items():
            if name not in kept and name in services.peers and services.peers[name].url == url:
                services.journal.put_neighbour(name, url)

    def barred(self) -> SignedBarred | None:
        """The list that this host goes by."""
        return self._agent.services.trust.signed

    def bar(self, signed: SignedBarred) -> None:
        """These are refused from now on."""
        self._agent.services.trust.take(signed)

    def decided(self) -> Decided | None:
        """What was decided of this host."""
        return self._agent.services.journal.decided()

    def keep(self, decided: Decided) -> None:
        """The same, from now on."""
        self._agent.services.journal.put_decided(decided)

    def fleet(self) -> str:
        """The id of the fleet that this host belongs to."""
        return self._agent.services.journal.fleet()

    def belong(self, fleet: str) -> None:
        """From now on to that one; durable when it returns."""
        log.info("this host belongs to a fleet now", fleet=fleet, before=self.fleet())
        self._agent.services.journal.put_fleet(fleet)

    def foreign(self, url: str, why: str) -> None:
        """See Here; for `segue doctor` and the metrics."""
        strange = self._agent.services.foreign
        if why:
            strange[url] = why
        else:
            strange.pop(url, None)

    async def change(self, within_s: float) -> None:
        """Returns when something may have changed, or that much time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()
            await asyncio.sleep(SETTLE_S)
        self._changed.clear()

    async def _watch(self, notices: Notices) -> None:
        while True:  # It ends for a listener that is too slow, which only means that something has changed.
            async for notice in notices.listen(0, 60.0):
                if notice is not None:
                    self._changed.set()
            self._changed.set()
