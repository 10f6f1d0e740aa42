"""Hands a guest of a dead host to the one that was chosen: told, sealed, started; and keeps in the store how far it is.

It must never start a guest before its heir's journal has it and the dead host was seen to be off after that. The same
for every other host that was not asked, as it had no power either.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import fleet, losses, off
from segue.controller.app import Controller
from segue.controller.links import HostAway
from segue.errors import SegueError
from segue.model.fencing import Death, Succession
from segue.model.leadership import Tenure
from segue.wire.frames import Shown

log = structlog.get_logger()
ASK_S: Final = 5.0
TELL_S: Final = 20.0
START_S: Final = 60.0
IN_USE: Final = "another process using the image"
"""QEMU's words where a disk is locked (block/file-posix.c, raw_check_lock_bytes)."""


class Heirs:
    """Of one dead host, in one tenure."""

    def __init__(self, controller: Controller, tenure: Tenure, death: Death) -> None:
        self._controller = controller
        self._mirror = controller.mirror
        self._tenure = tenure
        self._death = death

    async def give(self, shown: Shown, host: str, epoch: int, dark: Collection[str] = ()) -> int:
        """Writes that this host may have the guest at this epoch; the highest that was given away before. A host that
        was off meanwhile knows of none of them, and would take the guest with a number that another has."""
        table, fence, books = self._mirror.successions, self._tenure.fence, self._controller.books
        known, now_s = table.get(shown.spec.uuid), clock.wall_s()
        before, given = known.value if known else None, self.given(shown.spec.uuid, host)
        made = Succession(
            shown.spec, self._death.host, host, epoch, now_s, ended_s=now_s, dark=tuple(sorted(dark))
        )
        if before and (before.owner, before.heir, before.epoch) == (made.owner, host, epoch):
            return given
        if before is None:
            await books.add(table, shown.spec.uuid, made, fence=fence)
        elif before.ended_s and (before.epoch < epoch or before.heir == host):
            await books.change(table, shown.spec.uuid, lambda _: made, fence=fence)
        return given

    def given(self, uuid: str, host: str) -> int:
        """The highest epoch that a controller ever gave away of that guest to another host; 0 for none."""
        known = self._mirror.successions.get(uuid)
        return known.value.epoch if known and known.value.heir != host else 0

    async def carry_out(self, succession: Succession) -> str:
        """The host on which it runs. Raises SegueError."""
        uuid, heir = succession.guest.uuid, succession.heir
        if succession.sealed:
            return await self.start(succession)
        if heir not in self._controller.links.linked():
            # The owner may be back: it is not fenced for nothing.
            why = f"{heir} has to say first whether it took it over, and cannot be asked"
            raise losses.refused(f"{succession.guest.name} waits", why)
        await self.demand_off()
        await self.demand_unused(succession, told=False)
        await self.tell(succession)
        await self.seal(uuid, heir, succession.epoch)
        return await self.start(succession)

    async def demand_unused(self, succession: Succession, *, told: bool) -> None:
        """Hosts that were not asked as they had no power have none now, or say by now that nothing of it is there.
        Raises Refused; where one has it the takeover is over, and is judged anew. told: the heir's journal has it, so
        one that is back and does not run it hears of that, and drops what it has."""
        guest, heir = succession.guest, succession.heir
        for host in sorted(set(succession.dark) - await off.dark(self._controller, succession.dark)):
            if fleet.is_revoked(self._mirror, host):
                continue
            part = await self.part(host, guest.uuid)
            if part["phase"] == "absent":
                continue
            if told and not part["runs"] and part["claim"] < succession.epoch:
                why = f"{host} is back, and has not heard yet that {heir} has it"
                raise losses.refused(f"{guest.name} waits", why)
            await self.save(guest.uuid, ended_s=clock.wall_s())
            raise losses.refused(f"{guest.name} is not taken over", f"{host} is back, and has it")

    async def tell(self, succession: Succession) -> None:
        """The heir's journal has it from now on, or it has said no, and that is kept. Raises SegueError."""
        proof, uuid, heir = self._death.proof, succession.guest.uuid, succession.heir
        assert proof is not None
        told, spec = f"{proof.kind}: {proof.text}", msgspec.to_builtins(succession.guest)
        body = {"guest": spec, "owner": succession.owner, "proof": told, "epoch": succession.epoch}
        try:
            await self.call(heir, "PUT", f"/v1/successions/{uuid}", body, TELL_S)
        except HostAway:
            raise
        except SegueError as error:
            no = f"{heir}: {error.why}"
            await self.save(uuid, heir="", refused=(*succession.refused, no))
            raise losses.refused(f"{succession.guest.name} waits", no) from error

    async def seal(self, uuid: str, heir: str, epoch: int) -> None:
        """The owner was off after the heir's write: from now on it asks the heir, and does not start the guest. So it
        need not be off any more, and may come back while the heir still tries. Raises Refused where it is on."""
        known = self._controller.books.known(self._mirror.successions, uuid).value
        is_this = (known.heir, known.epoch) == (heir, epoch)
        if is_this and known.sealed:
            return
        await self.demand_off()
        if is_this:
            await self.demand_unused(known, told=True)
            await self.save(uuid, sealed=True)

    async def start(self, succession: Succession) -> str:
        """By the heir. Started already is no error. Raises SegueError."""
        uuid, heir, epoch = succession.guest.uuid, succession.heir, succession.epoch
        try:
            await self.call(heir, "POST", f"/v1/successions/{uuid}/start", {"epoch": epoch}, START_S)
        except HostAway:
            raise
        except SegueError as error:
            part = await self.part(heir, uuid)
            if part["phase"] == "owner" and part["claim"] <= epoch:
                if IN_USE in error.why:
                    # Whoever said that the owner is off was wrong: it is told to go off once more before the next try.
                    await self.save(uuid, sealed=False)
                raise
            # It went on from there.
            log.info("an heir had started it", guest=succession.guest.name, heir=heir)
        await self.save(uuid, ended_s=clock.wall_s(), started=True)
        return heir

    async def part(self, host: str, uuid: str) -> dict[str, Any]:
        """What that host has of it (`agent/api_succession.Part`). Raises HostAway."""
        part: dict[str, Any] = await self.call(host, "GET", f"/v1/successions/{uuid}", None, ASK_S)
        return part

    async def save(self, uuid: str, **fields: Any) -> None:
        """Into the store."""
        table, fence = self._mirror.successions, self._tenure.fence
        await self._controller.books.change(table, uuid, lambda known: replace(known, **fields), fence=fence)

    async def demand_off(self) -> None:
        """The dead host, at this moment. Raises Refused."""
        await off.demand(self._controller, self._death)

    async def call(self, host: str, method: str, path: str, body: object, within_s: float) -> Any:
        """What that host's agent answers. Raises SegueError."""
        return await self._controller.links.call(host, method, path, body, within_s=within_s)
