"""Whom this host refuses: the fleet's list of the barred, signed by its CA, kept in the journal.

It must never take a list that the CA has not signed, nor one that is older than what it has.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from segue.adapters import barring
from segue.adapters.http import access
from segue.adapters.http.access import Caller
from segue.adapters.store.journal import Journal
from segue.model.trust import Barred, SignedBarred

log = structlog.get_logger()


class Trust:
    """Asked for every call that comes in, and for every handshake with a peer that is called."""

    def __init__(self, journal: Journal, ca: Path) -> None:
        self._journal = journal
        self._ca = ca
        self.signed: SignedBarred | None = None
        """As it may be given to a controller."""
        self._barred = Barred()
        kept = journal.barred()
        if kept is not None:
            self.take(kept)

    def demand(self, found: Caller) -> None:
        """Raises Refused for one who is barred."""
        access.barred(found, self._barred)

    def demand_name(self, host: str) -> None:
        """The same, before a host is called over a connection that stands already."""
        self.demand(Caller("host", host))

    def take(self, signed: SignedBarred) -> None:
        """What a controller says; from now on it counts, after a restart too."""
        barred = barring.opened(self._ca.read_bytes(), signed)
        if barred is None:
            log.warning("a list of the barred is not taken", why="the fleet's CA has not signed it")
            return
        if barred.number <= self._barred.number:
            return
        self._journal.put_barred(signed)
        self._barred, self.signed = barred, signed
        log.info("barred", number=barred.number, who=[bar.who for bar in barred.bars])
