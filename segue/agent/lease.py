"""This host's lease: asked of the others again and again, told to the guard, and demanded before a guest is let run.

It must never tell the guard of a longer lease than a majority has granted, counted from when it was asked; and never
begin a new one before nothing is left of the guests that ran under the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import structlog

from segue.adapters import clock
from segue.adapters.peer import PeerClient
from segue.adapters.store.leases import LeaseNotes
from segue.agent.guard_line import GuardLine, Said
from segue.agent.lease_config import LeaseConfig
from segue.errors import Kind, Refused, SegueError
from segue.model.guest import Guest
from segue.model.lease import HeldCharter, LeaseFacts, Terms
from segue.policy import lease, takeover

log = structlog.get_logger()
IDLE_S: Final = 1.0
VOTE_S: Final = 1.5


async def _nothing() -> None:
    """Where nobody has guests yet."""


@dataclass
class Wards:
    """What the lease asks of whoever keeps the guests."""

    admit_all: Callable[[], Awaitable[None]] = _nothing
    """Puts every guest that runs here, or stands and could, and others may take over, under the guard."""
    bury_all: Callable[[], Awaitable[None]] = _nothing
    """The lease was over: nothing is left of such guests, and the journal does not count them as run here any more."""


class Lease:
    """One host's."""

    def __init__(
        self,
        name: str,
        config: LeaseConfig,
        notes: LeaseNotes,
        line: GuardLine,
    ) -> None:
        self._name = name
        self._config = config
        self._notes = notes
        self.peers: Mapping[str, PeerClient] = {}
        self._line = line
        self.wards = Wards()
        self._charter = notes.charter()
        self._ends_s = notes.ends_s()
        """By CLOCK_BOOTTIME; as the guard said last."""
        self._why = ""
        self._ready = False
        self._admitted = 0
        """The number of the charter for which all guests were admitted."""
        self._turn = asyncio.Lock()
        """A charter, a renewal, a burial: one at a time."""

    @property
    def lives(self) -> bool:
        """True where guests may run: nobody asks for a lease, or there is one."""
        return self._charter is None or clock.since_boot_s() < self._ends_s

    def facts(self) -> LeaseFacts | None:
        """For the controller; None from a host that neither has a lease nor wants one."""
        held, wanted = self._charter, bool(self._config.seconds)
        if held is None and not wanted:
            return None
        terms = Terms(self._config.seconds, self._config.watchdog_seconds)
        number = held.number if held else 0
        return LeaseFacts(
            wanted, self._ready, terms if wanted or held is None else held.terms, number,
            held is not None and self.lives, self._why, apps=held is not None and held.number == self._admitted,
        )  # fmt: skip

    def denials(self) -> dict[str, str]:
        """Hosts to which nothing is granted here, and why."""
        return self._notes.denials()

    def covers(self, guest: Guest) -> bool:
        """Not one that no other host takes over."""
        return takeover.is_covered(guest)

    async def admit(self, guest: Guest, pid: int) -> None:
        """To be called before its vCPUs run. Raises Refused where the host has no lease."""
        await self._admit(guest, lambda: self._line.admit(guest.uuid, pid))

    async def admit_tree(self, guest: Guest, cgroup: Path) -> None:
        """The same for an application: once all of it is in its cgroup, and before any of it runs."""
        await self._admit(guest, lambda: self._line.admit_tree(guest.uuid, cgroup), is_tree=True)

    async def _admit(
        self, guest: Guest, hand: Callable[[], Awaitable[Said]], *, is_tree: bool = False
    ) -> None:
        if self._charter is None or not self.covers(guest):
            return
        try:
            if is_tree and (await self._line.ask()).is_old:
                raise _refused(guest.name, "its host's guard is from before an update, and is just replaced")
            said = await hand()
        except OSError as error:
            raise _refused(guest.name, f"its host's guard does not answer: {error}") from error
        if said.over:
            raise _refused(
                guest.name, "its host is cut off from the majority of the others: others may run it"
            )
        if guest.uuid not in said.guests:
            raise _refused(guest.name, "its host's guard did not take it: it has just ended")

    # For the controller

    async def accept(self, offered: HeldCharter) -> None:
        """From now on guests run here by that charter. Raises Refused, and then all is as before."""
        async with self._turn:
            known = self._charter
            if known is not None and offered.number <= known.number == self._admitted:
                return
            if known is None or offered.number > known.number:
                offered = replace(offered, watchdog=known.watchdog if known else self._config.watchdog)
                asked_s = await self._granted(offered)
                if asked_s is None:
                    raise _refused(self._name, "no majority of the others grants a lease now")
                if known is None:  # Nobody counts on anything yet: what runs goes on.
                    await self._ensure_guard(offered)
                    said = await self._line.begin(asked_s + offered.terms.lease_s)
                    if said.over:
                        raise _refused(self._name, "its guard did not begin a lease")
                    self._take(said)
                self._notes.put_charter(offered)
                self._charter = offered
                log.info("guests run by a lease", voters=offered.voters, seconds=offered.terms.lease_s)
            await self._admit_all()  # Until this is done, the one who offered does not count on it.

    async def drop(self) -> None:
        """Guests run on without a lease: no controller counts on it any more."""
        async with self._turn:
            self._notes.drop_charter()
            self._charter, self._ready = None, False
            try:
                await self._line.end()
            except OSError as error:
                log.info("there was no guard to end", why=str(error))

    def deny(self, host: str, incident: str) -> None:
        """Durable when it returns: this host grants it nothing."""
        self._notes.deny(host, incident)
        log.warning("a host gets no lease any more", host=host, incident=incident)

    def allow(self, host: str, incident: str) -> None:
        """If it was denied for that incident."""
        self._notes.allow(host, incident)

    # By itself

    async def keep(self) -> None:
        """For as long as the agent lives. A charter that came just before the last agent's end is carried through."""
        is_new = True
        while True:
            try:
                async with self._turn:
                    await self._round()
                    if is_new and self._charter is not None and self.lives:
                        await self._admit_all()
                is_new = False
            except (OSError, SegueError) as error:
                self._why = error.why if isinstance(error, SegueError) else str(error)
                log.warning("the lease is not renewed", why=self._why)
            held = self._charter
            await asyncio.sleep(lease.renew_every_s(held.terms) if held else IDLE_S)

    async def _round(self) -> None:
        held = self._charter
        if held is None:
            if self._config.seconds and not self._ready:
                await self._ensure_guard(HeldCharter(0, (), self._terms(), self._config.watchdog))
            return
        asked_s = await self._granted(held)
        if asked_s is None:
            self._why = "no majority of the others grants it a lease"
            return
        until_s = asked_s + held.terms.lease_s
        try:
            said = await self._line.renew(until_s)
        except OSError:
            await self._replace_guard(held, until_s)
            return
        if said.over:
            await self._after_the_end(until_s)
            return
        self._take(said)
        if said.is_old:  # It outlived an update of its agent.
            await self._line.retire()
            await self._replace_guard(held, until_s)
        elif said.awaits:
            await self._admit_all()

    async def _admit_all(self) -> None:
        await self.wards.admit_all()
        await self._line.complete()
        self._admitted = self._charter.number if self._charter else 0

    async def _replace_guard(self, held: HeldCharter, until_s: float) -> None:
        """The old one died, by itself or with the machine; in that case its watchdog still runs.

        Guests that ran under it go on where their lease has never been over: that is known from what it said last.
        """
        known_s = max(self._ends_s, self._notes.ends_s())
        await self._ensure_guard(held, known_s)
        said = await self._line.renew(until_s)
        if said.over:
            await self._after_the_end(until_s)
            return
        self._take(said)
        await self._admit_all()

    async def _after_the_end(self, until_s: float) -> None:
        """As after a loss of power: only then a new one begins."""
        log.warning("the lease was over: what ran here may run elsewhere")
        await self.wards.bury_all()
        self._take(await self._line.begin(until_s))

    def _take(self, said: Said) -> None:
        self._ends_s = 0.0 if said.over else said.ends_s
        self._why = "it is over, and something of its guests is left" if said.over else ""
        self._notes.keep_end(self._ends_s)

    async def _ensure_guard(self, held: HeldCharter, until_s: float = 0.0) -> None:
        try:
            await self._line.ask()
        except OSError:
            await self._line.start(held.watchdog, held.terms.watchdog_s, until_s)
        self._ready, self._why = True, ""

    async def _granted(self, held: HeldCharter) -> float | None:
        """When it was asked for what a majority has granted; None where it has not."""
        asked_s = clock.since_boot_s()
        waiting = {asyncio.create_task(self._vote(host)) for host in held.voters if host != self._name}
        granted = {self._name}
        try:
            for vote in asyncio.as_completed(waiting):
                granted |= await vote
                if lease.is_majority(granted, held.voters):
                    return asked_s
        finally:
            for task in waiting:
                task.cancel()
        return asked_s if lease.is_majority(granted, held.voters) else None

    async def _vote(self, host: str) -> set[str]:
        peer = self.peers.get(host)
        if peer is None:
            return set()
        try:
            return {host} if await peer.grants_lease(VOTE_S) else set()
        except (SegueError, ConnectionError, TimeoutError):
            return set()

    def _terms(self) -> Terms:
        return Terms(self._config.seconds, self._config.watchdog_seconds)


def _refused(name: str, why: str) -> Refused:
    return Refused(
        what=f"{name} is not let run",
        why=why,
        todo="Look at the network of this host; it goes on by itself when the others answer.",
        kind=Kind.CONFLICT,
    )
