"""What hosts see of each other on their shared storage, without any: who lives writes there, who looks sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from segue.adapters.storage.beat import WATCH_S, Beats
from segue.sim.host import SimHost
from segue.sim.loop import Life


class SimBeats(Beats):
    """The blocks of all hosts of one world."""

    def __init__(self, host: SimHost) -> None:
        super().__init__(host.name, Path("/nowhere"), "")
        self._host = host

    def start(self) -> None:
        """See Beats; a host whose agent runs writes."""

    async def moves(self, host: str) -> bool:
        """See Beats."""
        await asyncio.sleep(WATCH_S)
        other = self._host.world.hosts.get(host)
        return self._host.sees_storage and other is not None and _writes(other)


def _writes(host: SimHost) -> bool:
    runs = host.process is not None and host.process.life is Life.RUNNING
    return host.powered and host.sees_storage and runs
