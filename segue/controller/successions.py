"""Brings the guests of a host that is proved to be off back on others, the most important ones first.

It must never tell a second heir before the first has said no or has no power either, and never take a guest over before
every host that has power has said what it has of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import structlog

from segue.adapters import clock
from segue.controller import fleet, health, leases, losses, off
from segue.controller.app import Controller
from segue.controller.heirs import START_S, TELL_S, Heirs
from segue.controller.links import HostAway
from segue.controller.mirror import Mirror
from segue.errors import SegueError
from segue.model.crash import Deed
from segue.model.fencing import Death, Succession
from segue.model.incident import Hit, Incident
from segue.model.leadership import Tenure
from segue.model.plan import NoHost
from segue.policy import placement, takeover
from segue.wire.frames import Shown

log = structlog.get_logger()
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
    """The guests of one dead host, in one tenure."""

    def __init__(self, controller: Controller, tenure: Tenure, death: Death) -> None:
        self._controller = controller
        self._mirror = controller.mirror
        self._tenure = tenure
        self._death = death
        self._heirs = Heirs(controller, tenure, death)
        self._choosing = asyncio.Lock()

    def _by_lease(self) -> bool:
        return self._death.proof is not None and not self._death.proof.of_power

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
            text = "all its guests are back" if self._incident().hits else "no guest of it was to run"
            await losses.end(self._controller, self._tenure, self._death, text)
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
        if self._by_lease() and not leases.has_ended(self._controller, shown.spec, self._death.host):
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
        if kept is None or not self._is_open(kept.value) or await self._has_no_heir(kept.value):
            parts, dark = await self._parts(uuid)
            held = {host: part for host, part in parts.items() if part["phase"] != "absent"}
            if held:
                return await self._settle_handoff(shown, held, dark)
            await self._choose(shown, kept.value if kept else None, parts, dark)
        return await self._heirs.carry_out(self._controller.books.known(self._mirror.successions, uuid).value)

    async def _has_no_heir(self, succession: Succession) -> bool:
        """Or one that has lost its power since: whatever it had of it, it asks before it starts it."""
        heir = succession.heir
        return not heir or (not self._by_lease() and heir in await off.dark(self._controller, [heir]))

    async def _parts(self, uuid: str) -> tuple[dict[str, dict[str, Any]], set[str]]:
        """(what every other host has of it, those that were not asked, as they are proved to have no power). Raises
        Refused where another one cannot be asked: it may be the owner."""
        if self._by_lease():
            await self._heirs.demand_off()  # It may live: from here on nobody takes a guest from it.
        hosts = sorted(fleet.members(self._mirror) - {self._death.host})
        # One that a lease has ended may still give its guest to a host that has its power back.
        dark = set() if self._by_lease() else await off.dark(self._controller, hosts)
        hosts = [host for host in hosts if host not in dark]
        asked = (self._heirs.part(host, uuid) for host in hosts)
        try:
            return dict(zip(hosts, await asyncio.gather(*asked), strict=True)), dark
        except HostAway as error:
            todo = "" if self._by_lease() else ", or, once it is off, say so: `segue host confirm-dead`"
            why = f"{error.what} ({error.why}), and may have the guest; bring it back, or revoke it{todo}"
            raise losses.refused("a guest is not taken over", why) from error

    async def _settle_handoff(self, shown: Shown, held: Mapping[str, dict[str, Any]], dark: set[str]) -> str:
        """A move was under way: the survivor's journal says how it goes on (policy/recovery). Of two that own it
        whoever runs it comes first; the other one gives way."""
        dead, proof = self._death.host, self._death.proof
        assert proof is not None
        for host, part in sorted(held.items(), key=lambda one: (not one[1]["runs"], -one[1]["claim"])):
            if part["phase"] in UNSETTLED and part["peer"] == dead:
                if part["phase"] == "incoming":  # What came of its files goes with the rest of the copy.
                    self._demand_portable(shown)
                highest = await self._heirs.give(shown, host, part["claim"] + takeover.STEP, dark)
                await self._heirs.demand_off()
                body = {
                    "fenced": dead, "proof": f"{proof.kind}: {proof.text}", "highest": highest, "dark": sorted(dark),
                }  # fmt: skip
                await self._heirs.call(host, "POST", f"/v1/guests/{shown.name}/recover", body, TELL_S)
            elif part["phase"] != "owner":
                raise losses.refused(
                    f"{shown.name} waits", f"it is {part['phase']} at {host}, which settles that"
                )
            now = await self._heirs.part(host, shown.spec.uuid)
            if now["phase"] != "owner":
                raise losses.refused(f"{shown.name} waits", f"it is {now['phase']} at {host}")
            if now["claim"] < max(shown.epoch, self._heirs.given(shown.spec.uuid, host)):
                raise losses.refused(
                    f"{shown.name} waits",
                    f"what {host} has of it is older than what {dead} had: it comes with {dead}",
                )
            await self._heirs.give(shown, host, now["claim"], dark)
            await self._heirs.seal(shown.spec.uuid, host, now["claim"])
            path = f"/v1/successions/{shown.spec.uuid}/start"
            await self._heirs.call(host, "POST", path, {"epoch": now["claim"]}, START_S)
            return host
        raise losses.refused(f"{shown.name} waits", "nobody has anything of it")

    def _demand_portable(self, shown: Shown) -> None:
        """Raises Refused for one whose files died with its host."""
        if lost := takeover.at_home(shown.spec):
            raise losses.refused(
                f"{shown.name} is not started elsewhere",
                f"{lost} was on the storage of {self._death.host} alone",
            )

    async def _choose(
        self, shown: Shown, known: Succession | None, parts: Mapping[str, dict[str, Any]], dark: set[str]
    ) -> None:
        """Written before the heir hears of it. Raises Refused where no host takes the guest."""
        self._demand_portable(shown)
        refusals = known.refused if known and self._is_open(known) else ()
        table, now_s = self._mirror.successions, clock.wall_s()
        async with self._choosing:
            heir = await self._heir(shown, refusals)
            recorded = max(shown.epoch, known.epoch if known else 0)
            epoch = takeover.epoch((part["claim"] for part in parts.values()), recorded, dark=bool(dark))
            made = Succession(
                shown.spec, self._death.host, heir, epoch, now_s, refusals, dark=tuple(sorted(dark))
            )
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
        part = await self._heirs.part(self._death.host, uuid)
        runs = part.get("runs", False) or part["claim"] > succession.epoch
        if not succession.sealed and (runs or not succession.heir):
            await self._heirs.save(uuid, ended_s=clock.wall_s())
            await self._note(f"{name} is left to {self._death.host}, which is back")
            return
        if not succession.sealed:
            await self._heirs.demand_unused(succession, told=True)
            # Said again it changes nothing. If it says no, the next round ends it.
            await self._heirs.tell(succession)
            if part["phase"] != "absent":
                raise losses.refused(
                    f"{name} waits", f"{self._death.host} has not heard yet that {succession.heir} has it"
                )
        heir = await self._heirs.start(succession)
        shown = fleet.owners(self._mirror).get(name)
        if shown is not None:
            await self._is_back(shown, heir)

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


def _is(hit: Hit, shown: Shown) -> bool:
    return hit.uuid == shown.spec.uuid and not hit.back_s
