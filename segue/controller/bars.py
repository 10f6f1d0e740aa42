"""Who is barred from the fleet: one list in the store, signed by the CA, so that agents can keep it and give it back.

It must never go back to an older list: not where the store was lost, nor where two admins bar somebody at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import structlog

from segue.adapters import barring, clock
from segue.adapters.http import access
from segue.adapters.http.access import Caller
from segue.adapters.pki import Authority
from segue.controller.books import Books
from segue.controller.mirror import Mirror
from segue.errors import Kind, Refused
from segue.model.store import Conflict
from segue.model.trust import BARS_MOST, Bar, Barred, SignedBarred

log = structlog.get_logger()
_Decide = Callable[[tuple[Bar, ...]], tuple[Bar, ...]]
NAME: Final = "barred"
TRIES: Final = 10


class Bars:
    """The list as this controller sees it, and changes to it."""

    def __init__(self, mirror: Mirror, books: Books, authority: Authority, ca_pem: bytes) -> None:
        self._mirror = mirror
        self._books = books
        self._authority = authority
        self._ca_pem = ca_pem
        self._read = (0, Barred())

    def signed(self) -> SignedBarred | None:
        """As agents get it; None before the first."""
        kept = self._mirror.trust.get(NAME)
        return kept.value if kept else None

    def now(self) -> Barred:
        """The list. One that is not signed by the CA was not written by a controller: it counts for nothing."""
        kept = self._mirror.trust.get(NAME)
        if kept is None:
            return Barred()
        if self._read[0] != kept.entry.revision:
            found = barring.opened(self._ca_pem, kept.value)
            if found is None:
                log.error("the list of the barred in the store is not signed by the fleet's CA")
            self._read = kept.entry.revision, found or Barred()
        return self._read[1]

    def demand(self, found: Caller) -> None:
        """Raises Refused for one who is barred."""
        access.barred(found, self.now())

    def is_self(self, caller: Caller, who: str) -> bool:
        """True where the caller would be the one who is barred."""
        return Barred(1, (Bar(who, 0.0, ""),)).find(caller.role, caller.name, caller.serial) is not None

    async def bar(self, bar: Bar) -> Barred:
        """From now on it is refused, here at once, at the agents as soon as they hear of it. Safe to repeat."""
        return await self._change(lambda bars: (*(each for each in bars if each.who != bar.who), bar))

    async def allow(self, who: str) -> Barred:
        """Takes that back. Safe to repeat."""
        return await self._change(lambda bars: tuple(each for each in bars if each.who != who))

    async def adopt(self, signed: SignedBarred) -> None:
        """What a host gives back: newer than ours where the store was lost. The CA has signed it, or it is nothing."""
        told = barring.opened(self._ca_pem, signed)
        if told is None or told.number <= self.now().number:
            return
        log.warning("a host knows a newer list of the barred", number=told.number, ours=self.now().number)
        await self._write(signed)

    async def _change(self, decide: _Decide) -> Barred:
        for _ in range(TRIES):
            now = self.now()
            bars = _still_needed(decide(now.bars))
            if bars == now.bars:
                return now
            _demand_room(bars)
            made = Barred(now.number + 1, bars)
            try:
                await self._write(barring.closed(self._authority, made))
                return made
            except Conflict as error:
                await self._mirror.reached(error.current.revision if error.current else 0)
        raise Refused(
            what="nobody was barred",
            why=f"others were faster {TRIES} times",
            todo="Try again.",
            kind=Kind.CONFLICT,
        )

    async def _write(self, signed: SignedBarred) -> None:
        table, kept = self._mirror.trust, self._mirror.trust.get(NAME)
        if kept is None:
            await self._books.add(table, NAME, signed)
            return
        revision = kept.entry.revision
        await self._books.change(table, NAME, lambda _: signed, revision=revision)


def _still_needed(bars: tuple[Bar, ...]) -> tuple[Bar, ...]:
    now_s = clock.wall_s()
    return tuple(bar for bar in bars if not bar.ends_s or bar.ends_s > now_s)


def _demand_room(bars: tuple[Bar, ...]) -> None:
    if len(bars) > BARS_MOST:
        raise Refused(
            what="nobody was barred",
            why=f"{BARS_MOST} are barred already",
            todo="Take back those that are not needed (`segue cert list`), or give the fleet a new CA.",
            kind=Kind.POLICY,
        )
