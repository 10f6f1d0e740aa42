"""What hosts and guests use, as agents told the leader last. In memory alone: a new leader is told anew.

It must never be written to the store: a fleet of thousands of hosts tells it every few seconds.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from segue.adapters import clock
from segue.errors import Kind, Refused
from segue.model.load import SETTLED_S, GuestLoad, HostLoad

STALE_S: Final = 60.0
"""A host that told nothing for so long: its figures are no figures any more."""
CARRY_S: Final = 900.0
"""A guest that moved is weighed by what its old host measured, at most for so long."""


@dataclass(frozen=True)
class _Told:
    host: str
    load: GuestLoad
    at_s: float


class Loads:
    """By host, and by guest's uuid."""

    def __init__(self) -> None:
        self.leads = False
        self._hosts: dict[str, tuple[HostLoad, float]] = {}
        self._guests: dict[str, _Told] = {}

    def begin(self) -> None:
        """This controller leads from now on."""
        self.leads = True

    def end(self) -> None:
        """It leads no more, and is told nothing more."""
        self.leads = False
        self._hosts.clear()
        self._guests.clear()

    def demand(self) -> None:
        """Raises Refused at a controller that does not lead: it knows no load."""
        if not self.leads:
            raise Refused(
                what="this controller cannot say it",
                why="it does not lead, and agents tell the load to the leader alone",
                todo="Ask the controller that leads; `segue` asks all of the context by itself.",
                kind=Kind.UNREACHABLE,
            )

    def take(self, host: str, told: HostLoad) -> None:
        """Replaces what the host said before."""
        now_s = clock.steady_s()
        self._hosts[host] = told, now_s
        for guest in told.guests:
            known = self._guests.get(guest.uuid)
            if known is None or self._replaces(known, host, guest, now_s):
                self._guests[guest.uuid] = _Told(host, guest, now_s)
        if len(self._guests) > 2 * sum(len(load.guests) for load, _ in self._hosts.values()) + 1000:
            self._forget(now_s)

    def frozen(self) -> Loads:
        """As it is now, for a thread that looks at it for longer."""
        made = copy.copy(self)
        made._hosts, made._guests = dict(self._hosts), dict(self._guests)
        return made

    def drop(self, host: str) -> None:
        """Its connection ended. Of its guests what is known stays for a while: they may be on their way."""
        self._hosts.pop(host, None)

    def hosts(self) -> Iterator[HostLoad]:
        """All that are up to date, by name."""
        now_s = clock.steady_s()
        return (load for _, (load, at_s) in sorted(self._hosts.items()) if now_s - at_s < STALE_S)

    def host(self, name: str) -> HostLoad | None:
        """None where nothing is known now."""
        load, at_s = self._hosts.get(name, (None, 0.0))
        return load if clock.steady_s() - at_s < STALE_S else None

    def guest(self, uuid: str) -> GuestLoad | None:
        """None where nothing is known now."""
        told = self._guests.get(uuid)
        return told.load if told and clock.steady_s() - told.at_s < CARRY_S else None

    @staticmethod
    def _replaces(known: _Told, host: str, guest: GuestLoad, now_s: float) -> bool:
        """A guest that has just come somewhere is known better by where it was."""
        if known.host == host or now_s - known.at_s >= CARRY_S:
            return True
        return guest.use.span_s >= min(SETTLED_S, known.load.use.span_s)

    def _forget(self, now_s: float) -> None:
        self._guests = {uuid: told for uuid, told in self._guests.items() if now_s - told.at_s < CARRY_S}
