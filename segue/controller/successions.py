"""Brings the guests of a host that is proved to be off back on others, the most important ones first.

It must never tell a second heir before the first has said no, and never start a guest before its heir's journal has it
and the dead host was seen to be off after that, or has said that nothing of it is left there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import fleet, health, leases, losses
from segue.controller.app import Controller
from segue.controller.links import HostAway
from segue.controller.mirror import Mirror
from segue.errors import SegueError
from segue.model.crash import Deed
from segue.model.fencing import Death, ProofKind, Succession
from segue.model.incident import Hit, Incident
from segue.model.leadership import Tenure
from segue.model.plan import NoHost
from segue.policy import placement, takeover
from segue.wire.frames import Shown

log = structlog.get_logger()
ASK_S: Final = 5.0
TELL_S: Final = 20.0
START_S: Final = 60.0
RUNS: Final = frozenset({"running", "paused"})
UNSETTLED: Final = frozenset({"offered", "incoming", "released"})


def hit(mirror: Mirror, host: str) -> list[Shown]:
    """Guests that its loss concerns: its own, and those that were given, or given back, to it and not confirmed."""
    moving = fleet.under_way(mirror)

    def given_to(shown: Shown) -> str:
        move = moving.get(shown.name)
        return shown.peer or (move.target if move else "")

    return [
        shown
        for shown in fleet.owners(mirror).values()
        if shown.host == host or (shown.phase == "released" and given_to(shown) == host)
    ]


def missed(mirror: Mirror, host: str) -> list[Shown]:
    """Those of them that run, or are to run."""
    return [shown for shown in hit(mirror, host) if shown.state in RUNS or shown.restarts]


class Successions:
    """The guests of one dead host, in one tenure. demand_off: raises Refused unless it is off at this moment."""

    def __init__(
        self, controller: Controller, tenure: Tenure, death: Death, demand_off: Callable[[], Awaitable[None]]
    ) -> None:
        self._controller = controller
        self._mirror = controller.mirror
        self._tenure = tenure
        self._death = death
        self._demand_off = demand_off
        self._choosing = asyncio.Lock()

    async def settle(self) -> bool:
        """One round over all of them; True while some wait for something."""
        await losses.end_moves(self._controller, self._tenure, self._death.host, is_dead=True)
        await self._note_late()
        begun = {s.guest.name for s in self._mirror.successions.values() if self._is_open(s)}
        wanted = {hit.guest for hit in self._incident().hits if not hit.back_s}
        concerned = {shown.name for shown in hit(self._mirror, self._death.host)}
        found = []
        for name, shown in fleet.owners(self._mirror).items():
            if name in begun or (name in wanted and name in concerned):
                found.append(shown)
            elif name in wanted and shown.state == "running":
                await self._is_back(shown, shown.host)  # Its move had come to its end, after all.
        found.sort(key=lambda shown: (-self._importance(shown.name), shown.name))
        await health.side_by_side(self._one(shown) for shown in found)
        left = [hit for hit in self._incident().hits if not hit.back_s]
        if not left and self._incident().is_open:
            await losses.end(self._controller, self._tenure, self._death, "all its guests are back")
        if not left:
            await losses.wait_no_more(self._controller, self._tenure, self._death.host)
        return bool(left)

    async def _note_late(self) -> None:
        """Guests that had just been given to it by a host that was not heard either when its loss was noted."""
        hits = self._incident().hits
        given = [shown for shown in hit(self._mirror, self._death.host) if shown.phase == "released"]
        late = [shown for shown in given if shown.name not in {one.guest for one in hits}]
        if late:
            hits = (*hits, *(Hit(shown.name, shown.spec.uuid, self._death.at_s) for shown in late))
            text = f"given to it before it was lost: {', '.join(shown.name for shown in late)}"
            await losses.note(self._controller, self._tenure, self._death.host, text, hits=hits)

    def _incident(self) -> Incident:
        return self._controller.books.known(self._mirror.incidents, self._death.incident).value

    def _importance(self, name: str) -> int:
        kept = self._mirror.wishes.get(name)
        return kept.value.importance if kept else 0

    def _is_open(self, succession: Succession) -> bool:
        return succession.owner == self._death.host and not succession.ended_s

    async def _one(self, shown: Shown) -> None:
        if shown.spec.on_crash.host is Deed.LEAVE:
            await self._note(f"{shown.name} is left: that is its policy for a host that is lost")
            return
        by_lease = self._death.proof is not None and self._death.proof.kind is ProofKind.LEASE_OVER
        if by_lease and not leases.has_ended(self._controller, shown.spec, self._death.host):
            why = takeover.at_home(shown.spec) or "its host's agent is too old to end applications by a lease"
            await self._note(f"{shown.name} is left: no lease ends it ({why})")
            return
        try:
            where = await self._bring_back(shown)
        except HostAway as error:
            log.info("a guest waits for a host's answer", guest=shown.name, why=str(error))
        except SegueError as error:
            await self._note(f"{shown.name} does not come back yet: {error.why}")
        else:
            await self._is_back(shown, where)

    async def _bring_back(self, shown: Shown) -> str:
        """The host on which it runs again. Raises SegueError."""
        uuid = shown.spec.uuid
        kept = self._mirror.successions.get(uuid)
        if kept is None or not self._is_open(kept.value) or not kept.value.heir:
            parts = await self._parts(uuid)
            held = {host: part for host, part in parts.items() if part["phase"] != "absent"}
            if held:
                return await self._settle_handoff(shown, held)
            await self._choose(shown, kept.value if kept else None, parts)
        return await self._carry_out(self._controller.books.known(self._mirror.successions, uuid).value)

    async def _parts(self, uuid: str) -> dict[str, dict[str, Any]]:
        """What every other host has of it. Raises HostAway where one cannot be asked: it may be the owner."""
        if self._death.proof and self._death.proof.kind is ProofKind.LEASE_OVER:
            await self._demand_off()  # It may live: from here on nobody takes a guest from it.
        known = {*self._mirror.hosts.items(), *self._mirror.reports.items()} - {self._death.host}
        hosts = sorted(host for host in known if not fleet.is_revoked(self._mirror, host))
        asked = (self._call(host, "GET", f"/v1/successions/{uuid}", None, ASK_S) for host in hosts)
        try:
            return dict(zip(hosts, await asyncio.gather(*asked), strict=True))
        except HostAway as error:
            why = f"{error.what} ({error.why}), and may have the guest"
            raise losses.refused(
                "a guest is not taken over", f"{why}; bring it back, or revoke it"
            ) from error

    async def _settle_handoff(self, shown: Shown, held: Mapping[str, dict[str, Any]]) -> str:
        """A move was under way: the survivor's journal says how it goes on (policy/recovery)."""
        dead, proof = self._death.host, self._death.proof
        assert proof is not None
        for host, part in held.items():
            if part["phase"] in UNSETTLED and part["peer"] == dead:
                if part["phase"] == "incoming":  # What came of its files goes with the rest of the copy.
                    self._demand_portable(shown)
                highest = await self._give(shown, host, part["claim"] + takeover.STEP)
                await self._demand_off()
                body = {"fenced": dead, "proof": f"{proof.kind}: {proof.text}", "highest": highest}
                await self._call(host, "POST", f"/v1/guests/{shown.name}/recover", body, TELL_S)
            elif part["phase"] != "owner":
                raise losses.refused(
                    f"{shown.name} waits", f"it is {part['phase']} at {host}, which settles that"
                )
            now = await self._call(host, "GET", f"/v1/successions/{shown.spec.uuid}", None, ASK_S)
            if now["phase"] != "owner":
                raise losses.refused(f"{shown.name} waits", f"it is {now['phase']} at {host}")
            if now["claim"] < max(shown.epoch, self._given(shown.spec.uuid, host)):
                raise losses.refused(
                    f"{shown.name} waits",
                    f"what {host} has of it is older than what {dead} had: it comes with {dead}",
                )
            await self._give(shown, host, now["claim"])
            await self._seal(shown.spec.uuid, host, now["claim"])
            path = f"/v1/successions/{shown.spec.uuid}/start"
            await self._call(host, "POST", path, {"epoch": now["claim"]}, START_S)
            return host
        raise losses.refused(f"{shown.name} waits", "nobody has anything of it")

    def _demand_portable(self, shown: Shown) -> None:
        """Raises Refused for one whose files died with its host."""
        if lost := takeover.at_home(shown.spec):
            raise losses.refused(
                f"{shown.name} is not started elsewhere",
                f"{lost} was on the storage of {self._death.host} alone",
            )

    async def _give(self, shown: Shown, host: str, epoch: int) -> int:
        """Writes that this host may have the guest at this epoch; the highest that was given away before. A host that
        was off meanwhile knows of none of them, and would take the guest with a number that another has."""
        table, fence, books = self._mirror.successions, self._tenure.fence, self._controller.books
        known, now_s = table.get(shown.spec.uuid), clock.wall_s()
        before, given = known.value if known else None, self._given(shown.spec.uuid, host)
        made = Succession(shown.spec, self._death.host, host, epoch, now_s, ended_s=now_s)
        if before and (before.owner, before.heir, before.epoch) == (made.owner, host, epoch):
            return given
        if before is None:
            await books.add(table, shown.spec.uuid, made, fence=fence)
        elif before.ended_s and (before.epoch < epoch or before.heir == host):
            await books.change(table, shown.spec.uuid, lambda _: made, fence=fence)
        return given

    def _given(self, uuid: str, host: str) -> int:
        """The highest epoch that a controller ever gave away of that guest to another host; 0 for none."""
        known = self._mirror.successions.get(uuid)
        return known.value.epoch if known and known.value.heir != host else 0

    async def _choose(
        self, shown: Shown, known: Succession | None, parts: Mapping[str, dict[str, Any]]
    ) -> None:
        """Written before the heir hears of it. Raises Refused where no host takes the guest."""
        self._demand_portable(shown)
        refusals = known.refused if known and self._is_open(known) else ()
        table, now_s = self._mirror.successions, clock.wall_s()
        async with self._choosing:
            heir = await self._heir(shown, refusals)
            recorded = max(shown.epoch, known.epoch if known else 0)
            epoch = takeover.epoch((part["claim"] for part in parts.values()), recorded)
            made = Succession(shown.spec, self._death.host, heir, epoch, now_s, refusals)
            books, fence = self._controller.books, self._tenure.fence
            if known is None:
                await books.add(table, shown.spec.uuid, made, fence=fence)
            else:
                await books.change(table, shown.spec.uuid, lambda _: made, fence=fence)

    async def _heir(self, shown: Shown, refusals: tuple[str, ...]) -> str:
        # Its connection may not have ended yet: without this the emptiest host can be the one that just died.
        lost = self._mirror.deaths.items().keys()
        not_to = {shown.name: (*(text.partition(":")[0] for text in refusals), *lost)}
        seen = await fleet.looked(self._mirror, self._controller.loads, not_to)
        heirs = {s.guest.name: s.heir for s in self._mirror.successions.values() if s.heir and not s.ended_s}
        guests = tuple(replace(g, host=heirs.get(g.name, g.host)) for g in seen.guests)
        mine = next(guest for guest in guests if guest.name == shown.name)
        choice = placement.place(takeover.anew(mine), takeover.open_to_all(replace(seen, guests=guests)))
        if isinstance(choice, NoHost):
            words = "; ".join(f"{host}: {', '.join(why)}" for host, why in sorted(choice.refused.items()))
            raise losses.refused(f"{shown.name} finds no host", "; ".join((*refusals, words)))
        return choice.host

    async def _carry_out(self, succession: Succession) -> str:
        proof, uuid, heir = self._death.proof, succession.guest.uuid, succession.heir
        assert proof is not None
        if succession.sealed:
            return await self._start(succession)
        if (
            heir not in self._controller.links.linked()
        ):  # The owner may be back: it is not fenced for nothing.
            why = f"{heir} has to say first whether it took it over, and cannot be asked"
            raise losses.refused(f"{succession.guest.name} waits", why)
        await self._demand_off()
        await self._tell(succession)
        await self._seal(uuid, heir, succession.epoch)
        return await self._start(succession)

    async def _tell(self, succession: Succession) -> None:
        """The heir's journal has it from now on, or it has said no, and that is kept. Raises SegueError."""
        proof, uuid, heir = self._death.proof, succession.guest.uuid, succession.heir
        assert proof is not None
        told, spec = f"{proof.kind}: {proof.text}", msgspec.to_builtins(succession.guest)
        body = {"guest": spec, "owner": succession.owner, "proof": told, "epoch": succession.epoch}
        try:
            await self._call(heir, "PUT", f"/v1/successions/{uuid}", body, TELL_S)
        except HostAway:
            raise
        except SegueError as error:
            no = f"{heir}: {error.why}"
            await self._save(uuid, heir="", refused=(*succession.refused, no))
            raise losses.refused(f"{succession.guest.name} waits", no) from error

    async def _seal(self, uuid: str, heir: str, epoch: int) -> None:
        """The owner was off after the heir's write: from now on it asks the heir, and does not start the guest. So it
        need not be off any more, and may come back while the heir still tries. Raises Refused where it is on."""
        known = self._controller.books.known(self._mirror.successions, uuid).value
        is_this = (known.heir, known.epoch) == (heir, epoch)
        if is_this and known.sealed:
            return
        await self._demand_off()
        if is_this:
            await self._save(uuid, sealed=True)

    async def _start(self, succession: Succession) -> str:
        uuid, heir, epoch = succession.guest.uuid, succession.heir, succession.epoch
        try:
            await self._call(heir, "POST", f"/v1/successions/{uuid}/start", {"epoch": epoch}, START_S)
        except HostAway:
            raise
        except SegueError:
            part = await self._call(heir, "GET", f"/v1/successions/{uuid}", None, ASK_S)
            if part["phase"] == "owner" and part["claim"] <= epoch:
                raise
            # It went on from there.
            log.info("an heir had started it", guest=succession.guest.name, heir=heir)
        await self._save(uuid, ended_s=clock.wall_s(), started=True)
        return heir

    # Its owner is back

    async def close(self) -> bool:
        """One round over those that were begun, with their owner, which is back and is not fenced for them; True while
        some wait."""
        begun = [s for s in self._mirror.successions.values() if self._is_open(s)]
        left = False
        for succession in sorted(begun, key=lambda one: one.guest.name):
            try:
                await self._close(succession)
            except SegueError as error:
                left = True
                await self._note(
                    f"{succession.guest.name} waits, though {self._death.host} is back: {error.why}"
                )
        return left

    async def _close(self, succession: Succession) -> None:
        """Where the owner runs it again the heir has no part in it; where it has nothing of it, the heir starts it."""
        uuid, name = succession.guest.uuid, succession.guest.name
        part = await self._call(self._death.host, "GET", f"/v1/successions/{uuid}", None, ASK_S)
        runs = part.get("runs", False) or part["claim"] > succession.epoch
        if not succession.sealed and (runs or not succession.heir):
            await self._save(uuid, ended_s=clock.wall_s())
            await self._note(f"{name} is left to {self._death.host}, which is back")
            return
        if not succession.sealed:
            # Said again it changes nothing. If it says no, the next round ends it.
            await self._tell(succession)
            if part["phase"] != "absent":
                raise losses.refused(
                    f"{name} waits", f"{self._death.host} has not heard yet that {succession.heir} has it"
                )
        heir = await self._start(succession)
        shown = fleet.owners(self._mirror).get(name)
        if shown is not None:
            await self._is_back(shown, heir)

    async def _save(self, uuid: str, **fields: Any) -> None:
        table, fence = self._mirror.successions, self._tenure.fence
        await self._controller.books.change(table, uuid, lambda known: replace(known, **fields), fence=fence)

    async def _is_back(self, shown: Shown, where: str) -> None:
        now_s = clock.wall_s()

        def back(known: Incident) -> Incident:
            hits = tuple(replace(h, back_s=now_s) if _is(h, shown) else h for h in known.hits)
            return replace(known.with_step(now_s, f"{shown.name} was restarted on {where}"), hits=hits)

        table, fence = self._mirror.incidents, self._tenure.fence
        await self._controller.books.change(table, self._death.incident, back, fence=fence)
        log.warning("a guest was restarted elsewhere", guest=shown.name, host=where, owner=self._death.host)

    async def _note(self, text: str) -> None:
        await losses.note(self._controller, self._tenure, self._death.host, text)

    async def _call(self, host: str, method: str, path: str, body: object, within_s: float) -> Any:
        return await self._controller.links.call(host, method, path, body, within_s=within_s)


def _is(hit: Hit, shown: Shown) -> bool:
    return hit.uuid == shown.spec.uuid and not hit.back_s
