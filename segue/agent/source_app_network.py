"""The source's end of an application's steering: nobody's connection breaks, and a frozen application says nothing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import structlog
from pyroute2.netlink.exceptions import NetlinkError

from segue.adapters.net import cell_move
from segue.adapters.net.batch import Batch
from segue.agent import app_move
from segue.agent.resident_app import AppResident
from segue.agent.source_network import SourceNetwork
from segue.errors import Aborted
from segue.model.handoff import Phase

log = structlog.get_logger()
ACCEPT_S: Final = 0.2
"""For a handshake that is under way (a round trip), and for the application to take its connection."""
LOOK_S: Final = 0.001
LISTENS, HALF_OPEN = "0A", "03"
"""States of a socket in /proc/net/tcp."""


class AppNetwork(SourceNetwork):
    """The same steering; its card is a cable without a ring, and a frozen application's kernel may still speak."""

    _hush: Batch | None = None
    _calls: Batch | None = None

    async def _make_ready(self) -> None:
        await super()._make_ready()
        if self._hush is None:
            self._hush = await self._services.steering.hush_batch(self._ways)
        if self._calls is not None:
            self._calls.close()
        self._calls = await self._services.steering.turn_calls(self._ways.items())

    async def tell(self) -> None:
        """See engine/ports.py; whom it knows goes with its memory."""
        await super().tell()
        if self._resident.departure is None:
            return
        cards, place = len(self._guest.nics), self._services.apps.places(self._guest).netns
        try:
            known = await self._services.apps.cells.inside(place, lambda: cell_move.neighbours(cards))
            self._resident.departure.add(app_move.NEIGHBOURS, known)
        except (OSError, NetlinkError) as error:  # It asks for them anew.
            log.warning("neighbours not taken along", guest=self._guest.name, error=str(error))

    @property
    def _resident(self) -> AppResident:
        assert isinstance(self._keeper.resident, AppResident)
        return self._keeper.resident

    def _open_way(self, tap: str) -> None:
        """A cable has no ring."""

    def _close(self) -> None:
        super()._close()
        for batch in (self._hush, self._calls):
            if batch is not None:
                batch.close()
        self._hush = self._calls = None

    def steer(self) -> None:
        """See engine/ports.py. New connections first: CRIU cannot take along one that is not accepted yet, and no
        other can be under way once these are. Raises Aborted where one is not accepted in time."""
        assert self._calls is not None
        self._calls.fire()
        self._let_accept()
        super().steer()

    def _let_accept(self) -> None:
        body = self._keeper.body
        until_s = time.monotonic() + ACCEPT_S
        while body is not None and (ports := _waiting(body.pid)):
            if time.monotonic() > until_s:
                if max(ports):
                    raise _not_accepted(max(ports))
                return  # Whoever asked for that one has not answered for so long.
            time.sleep(LOOK_S)

    async def drain(self) -> None:
        """See engine/ports.py: nothing waits in a cable."""

    def rescue(self) -> int:
        """See engine/ports.py: it stands; from here on nothing that its kernel says leaves this host."""
        assert self._hush is not None
        self._hush.fire()
        return 0

    async def _bring_back(self) -> None:
        if self._keeper.token.phase in {Phase.OWNER, Phase.OFFERED}:
            for tap in self._ways:
                await self._services.steering.speak(tap)
        await super()._bring_back()


def _waiting(pid: int) -> tuple[int, ...]:
    """The port of each listener at which a connection waits to be accepted; 0 for one that is half open."""
    found: list[int] = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]
        except OSError:
            continue
        for words in map(str.split, lines):
            if words[3] == HALF_OPEN:
                found.append(0)
            elif words[3] == LISTENS and words[4].partition(":")[2] != "00000000":
                found.append(int(words[1].rpartition(":")[2], 16))
    return tuple(found)


def _not_accepted(port: int) -> Aborted:
    return Aborted(
        what="the application was not stopped",
        why=f"a connection waits at its port {port}, and it does not accept it: CRIU could not take that along",
        todo="Move it when it accepts connections again.",
    )
