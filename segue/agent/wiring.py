"""Where the type checker proves that the real parts fit the engine's ports."""

from __future__ import annotations

import asyncio

from segue.adapters import clock
from segue.adapters.peer import PeerClient
from segue.agent.boards import MigrationNotice
from segue.agent.record import MigrationRecord
from segue.agent.source import SourceCustody, SourceGuest
from segue.agent.source_disks import SourceDisks
from segue.agent.source_network import SourceNetwork
from segue.engine.run import Run
from segue.model.guest import Guest


class RealClock:
    """Engine port `Clock`."""

    def wall_s(self) -> float:
        """Seconds since 1970."""
        return clock.wall_s()

    def steady_s(self) -> float:
        """Seconds that only grow."""
        return clock.steady_s()

    async def rest(self, seconds: float) -> None:
        """Lets time pass."""
        await asyncio.sleep(seconds)


def wire(
    guest: Guest,
    here: SourceGuest,
    network: SourceNetwork,
    disks: SourceDisks,
    peer: PeerClient,
    custody: SourceCustody,
    record: MigrationRecord,
    notice: MigrationNotice,
    clock: RealClock,
) -> Run:
    """The engine's view of one migration."""
    return Run(
        guest=guest,
        here=here,
        network=network,
        disks=disks,
        peer=peer,
        custody=custody,
        record=record,
        notice=notice,
        clock=clock,
    )
