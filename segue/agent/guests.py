"""All guests of this host: found again after a restart, created, listed, and kept going by their keepers."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import ClassVar

import structlog

from segue import __version__
from segue.adapters import system
from segue.agent.keeper import TICK_S, Keeper
from segue.agent.lease import Wards
from segue.agent.others import Others
from segue.agent.resident import GONE, TAKEN_OVER
from segue.agent.room import Room
from segue.agent.services import Services
from segue.errors import Kind, Refused, SegueError
from segue.model.crash import Cause
from segue.model.guest import Guest
from segue.model.handoff import Copy, Created, PeerFenced, Phase, TakeOver
from segue.model.host import HostFacts
from segue.model.migration import Migration
from segue.policy import compatibility, recovery
from segue.policy.recovery import Verdict
from segue.wire import offer
from segue.wire.frames import Shown

log = structlog.get_logger()


class Guests:
    """Keepers by the guest's uuid, which never changes; people call guests by name."""

    kept_by: ClassVar[type[Keeper]] = Keeper

    def __init__(self, services: Services) -> None:
        self._services = services
        self._keepers: dict[str, Keeper] = {}
        services.lease.wards = Wards(self.admit_all, self.bury_all)
        self._room = Room()
        self.others = Others(services)
        self.placing = asyncio.Lock()
        """One placement at a time, from the look at the room to the copy: two cannot be promised the same room."""

    async def take_up(self) -> None:
        """After a start of the agent: every guest as it stands, touched by nobody."""
        for guest, wanted, reason in self._services.journal.guests():
            keeper = self.kept_by(self._services, guest.uuid, guest)
            incoming = keeper.token.phase is Phase.INCOMING
            keeper.resident.wanted, keeper.resident.reason = wanted, reason
            await keeper.take_up()
            if keeper.body is None and not incoming and keeper.resident.expected:
                keeper.resident.reason = GONE
                await self._note_crash(keeper)
            self._keepers[guest.uuid] = keeper
            log.info("guest taken up", guest=guest.name, state=keeper.state(), phase=keeper.token.phase)
        for uuid in self._services.journal.unsettled_tokens():
            self.by_uuid(uuid)  # Its guest never came to be here, but its journal waits for an answer.

    async def _note_crash(self, keeper: Keeper) -> None:
        """After a boot of the host it may live elsewhere by now: all others are asked before it is started. What was
        just being moved waits for the end of that."""
        guest = keeper.guest
        if guest is None or keeper.resident.reason != GONE or keeper.in_saga:
            return
        if keeper.token.phase is not Phase.OWNER or keeper.copy() is not Copy.NONE:
            return
        if not self._services.journal.ran_since_boot(guest.name):
            incident = await self._services.crashes.begin(guest, Cause.POWER_LOST, None)
        elif not guest.is_app:
            cause = Cause.QEMU_ENDED if self._services.lease.lives else Cause.CUT_OFF
            incident = await self._services.crashes.begin(guest, cause, None)
        else:
            return
        keeper.resident.want("running", incident.text)

    async def keep(self) -> None:
        """Ticks every keeper for as long as the agent lives; one that waits for a dead peer holds up no other."""
        ticking: dict[str, asyncio.Task[None]] = {}
        while True:
            for keeper in list(self._keepers.values()):
                if keeper.uuid not in ticking or ticking[keeper.uuid].done():
                    ticking[keeper.uuid] = asyncio.create_task(self._tick(keeper))
            ticking = {uuid: task for uuid, task in ticking.items() if not task.done()}
            await asyncio.sleep(TICK_S)

    def moving(self) -> bool:
        """True while a guest is on its way to this host or from it, or is just being started or ended."""
        still = {Phase.OWNER, Phase.ABSENT}
        return any(k.in_saga or k.is_busy or k.token.phase not in still for k in self._keepers.values())

    def close(self, why: str) -> None:
        """From now on nothing starts here or comes in; empty: it may again."""
        self._services.closed = why

    async def let_go(self, keeper: Keeper) -> None:
        """Nothing is left of a guest that is no longer expected here; whoever said so may bring it again at once."""
        if keeper.token.phase is Phase.ABSENT and keeper.guest is not None and not keeper.in_saga:
            async with self.placing:  # Its copy may just be being made.
                await keeper.forget()

    async def _tick(self, keeper: Keeper) -> None:
        try:
            await keeper.tick()
            await self._look_for_successor(keeper)
            await self._note_crash(keeper)
            if self._services.lease.lives:  # Without one nothing could be restarted here.
                await self._services.crashes.tend(keeper, self.start)
            await self._services.crashes.feel(keeper)
            await self.let_go(keeper)
        except (SegueError, OSError, TimeoutError) as error:
            log.warning("a guest's tick failed", guest=keeper.uuid, error=str(error))
        # A placement makes a keeper before there is anything of the guest: it must find that very one again.
        if keeper.is_over and not self.placing.locked():
            self._keepers.pop(keeper.uuid, None)

    async def _look_for_successor(self, keeper: Keeper) -> None:
        """After a power loss the guest may have been recovered elsewhere; then what is left here goes. So it may where
        it was given away just before, and whoever was to have it is not heard of."""
        had = keeper.token.phase in (Phase.OWNER, Phase.RELEASED) and keeper.copy() is Copy.NONE
        if keeper.guest is None or not had or self._services.journal.ran_since_boot(keeper.guest.name):
            return
        found = await self.others.successor(keeper)
        if found is not None:
            log.warning("the guest lives elsewhere now", guest=keeper.guest.name, host=found.owner)
            await keeper.tell(found)

    async def admit_all(self) -> None:
        """Under the guard, whatever of them may run. Raises Refused where there is no lease; one that has just ended
        holds up no other."""
        refusals: list[Refused] = []
        for keeper in list(self._keepers.values()):
            try:
                if keeper.guest is not None:
                    await keeper.resident.admit(keeper.guest)
            except Refused as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    async def bury_all(self) -> None:
        """The lease was over: as after a loss of power nothing is left of the guests that others may have taken."""
        self.others.forget()
        for keeper in list(self._keepers.values()):
            if keeper.guest is not None and self._services.lease.covers(keeper.guest):
                await keeper.cut_off()

    def every(self) -> list[Keeper]:
        """All keepers, those of tombstones that wait for an answer too."""
        return list(self._keepers.values())

    def await_grant(self) -> bool:
        """True while a guest stands whose whole copy is here, and waits for the word that lets it run."""
        keepers = self._keepers.values()
        return any(k.token.phase is Phase.INCOMING and k.copy() is Copy.COMPLETE for k in keepers)

    def by_uuid(self, uuid: str) -> Keeper:
        """The keeper of that guest; for one that is not here, a keeper of its tombstone."""
        return self._keepers.setdefault(uuid, self.kept_by(self._services, uuid, None))

    def by_name(self, name: str) -> Keeper:
        """Raises Refused where no such guest is here."""
        for keeper in self._keepers.values():
            if keeper.guest is not None and keeper.guest.name == name:
                return keeper
        raise Refused(
            what=f"there is no guest {name} on {self._services.config.name}",
            why="this host does not run it and has nothing of it",
            todo="`segue vm list` shows where every guest is.",
            kind=Kind.NOT_FOUND,
        )

    def keeper_of(self, migration: Migration) -> Keeper | None:
        """The keeper of the guest that a migration of ours is about, if the guest still is here."""
        for keeper in self._keepers.values():
            if keeper.guest is not None and keeper.token.migration == migration.id:
                return keeper
        return next((k for k in self._keepers.values() if k.guest and k.guest.name == migration.guest), None)

    def adopt(self, keeper: Keeper, guest: Guest) -> None:
        """Keeps a guest that comes in, so that a restarted agent finds it."""
        if keeper.guest is None:
            keeper.adopt(guest)
            self._services.journal.put_guest(guest, keeper.token, "running")

    def shown(self) -> list[Shown]:
        """All guests as the API shows them."""
        every = (keeper.shown() for keeper in self._keepers.values())
        return sorted((shown for shown in every if shown is not None), key=lambda shown: shown.name)

    def specs(self) -> list[Guest]:
        """Specifications of the guests that have something here."""
        return [shown.spec for shown in self.shown()]

    def promised_bytes(self) -> int:
        """See room.py."""
        return self._room.promised_bytes(self._keepers.values())

    def running(self) -> list[tuple[Guest, int]]:
        """Guests that run here by right, with their first process."""
        found = [(k.guest, k.body) for k in self._keepers.values() if k.token.phase is Phase.OWNER]
        return [(guest, body.pid) for guest, body in found if guest and body and body.running]

    def names(self) -> tuple[str, ...]:
        """Names that are taken on this host."""
        return tuple(shown.name for shown in self.shown())

    def demand_free(self, name: str) -> None:
        """Raises Refused when a guest of that name is here."""
        if name in self.names():
            raise _taken(name, self._services.config.name)

    async def create(self, guest: Guest, *, start: bool) -> None:
        """A new guest; when its first start fails nothing is left of it."""
        async with self.placing:
            self.demand_free(guest.name)
            compatibility.demand(guest, self.facts(), compatibility.Already())
            keeper = self.kept_by(self._services, guest.uuid, guest)
            keeper.resident.wanted, keeper.resident.reason = "stopped", "created, not started yet"
            self._services.journal.put_guest(guest, keeper.token, "stopped", keeper.resident.reason)
            self._keepers[guest.uuid] = keeper
        try:
            await keeper.tell(Created())
            if start:
                await self._start(keeper, peers_highest=0)
        except BaseException:
            await self._unmake(keeper)
            raise

    async def inherit(self, guest: Guest, event: TakeOver) -> None:
        """This host is its owner from now on, and lets it stand. What is adopted for a takeover that is refused
        goes with the next tick."""
        async with self.placing:
            keeper = self.by_uuid(guest.uuid)
            if keeper.guest is None:
                self.demand_free(guest.name)
                compatibility.demand(guest, self.facts(), compatibility.Already())
                keeper.adopt(guest)
                keeper.resident.wanted = "stopped"
                keeper.resident.reason = f"{TAKEN_OVER}{event.owner}"
                self._services.journal.put_guest(guest, keeper.token, "stopped", keeper.resident.reason)
            await keeper.tell(event)

    async def start(self, keeper: Keeper) -> None:
        """From disk. After a power loss the peers are asked first whether the guest lives elsewhere."""
        await self._start(keeper, await self.others.highest_since_boot(keeper))

    async def _start(self, keeper: Keeper, peers_highest: int) -> None:
        async with self._room.kept(keeper, self.placing, self.facts):
            await keeper.start(peers_highest)

    async def recover(
        self, keeper: Keeper, fenced: str, proof: str, highest: int = 0, dark: Collection[str] = ()
    ) -> None:
        """`fenced` has no power, by this proof. What its copy did is lost with it, so the guest is
        owned here again without memory, and restarts from its disk."""
        guest = keeper.guest_here()
        ruling = recovery.decide(keeper.token, None, source_dead=False, target_dead=True)
        if fenced != keeper.token.peer:
            raise _no_recovery(guest.name, f"{fenced} has no part in it: it is {keeper.token.phase} here")
        if ruling.verdict in {Verdict.WAIT, Verdict.NOTHING}:
            raise _no_recovery(guest.name, ruling.reason.replace("the source", self._services.config.name))
        await self._demand_silence(guest.name, fenced)
        highest = max(highest, await self.others.highest_claim(keeper, without={fenced, *dark}))
        await keeper.tell(PeerFenced(fenced, proof=proof, highest=highest))
        keeper.note(f"recovered, because {fenced} is without power; start it from its disk")

    async def _demand_silence(self, name: str, fenced: str) -> None:
        """A host that answers has power, whatever anybody says."""
        try:
            await self._services.peer(fenced).facts()
        except (ConnectionError, TimeoutError):
            return
        raise _no_recovery(name, f"{fenced} answers, so it has power and may run the guest")

    async def delete(self, keeper: Keeper) -> None:
        """Only a guest that is owned here and stands. After a power loss it may live elsewhere, on the same disks."""
        assert keeper.guest is not None
        if keeper.token.phase is not Phase.OWNER or keeper.body is not None:
            raise Refused(
                what=f"{keeper.guest.name} is not deleted",
                why=f"it is {keeper.state()} here ({keeper.token.phase})",
                todo=f"Stop it first: `segue vm stop {keeper.guest.name}`.",
                kind=Kind.CONFLICT,
            )
        if await self.others.highest_since_boot(keeper) > keeper.token.epoch:
            raise Refused(
                what=f"{keeper.guest.name} is not deleted",
                why="it was recovered on another host while this one was without power, and its disks are in use there",
                todo="Nothing: what is left of it here goes by itself.",
                kind=Kind.CONFLICT,
            )
        await self._unmake(keeper)

    async def _unmake(self, keeper: Keeper) -> None:
        guest = keeper.guest
        await keeper.bury()
        if guest is not None:
            self._services.notices.tell("guest", guest.name, {"name": guest.name, "state": "deleted"})

    def facts(self) -> HostFacts:
        """What this host can do, now."""
        services, shown = self._services, self.shown()
        total, _available = system.memory_bytes()
        spoken = offer.offered(encrypted=services.protection.required)
        return HostFacts(
            name=services.config.name,
            instance=services.journal.instance,
            segue_version=__version__,
            wire_version=spoken[0],
            wire_versions=spoken,
            qemu_version=services.capabilities.version,
            accelerator=services.capabilities.accelerator,
            machines=services.capabilities.machines,
            cpu_models=services.capabilities.cpu_models,
            memory_total_bytes=total,
            memory_free_bytes=max(0, total - services.config.memory_reserve_bytes - self.promised_bytes()),
            cpus=system.cpus(),
            bridges=system.bridges(),
            networks=services.networks.facts(),
            vlan_bridges=system.vlan_bridges(),
            guests=tuple(one.name for one in shown),
            guests_outdated=tuple(one.name for one in shown if one.qemu_outdated),
            kernel=system.kernel(),
            post_copy=services.capabilities.no_post_copy,
            channels=services.config.tls.channels,
            queue_entries=services.capabilities.queue_entries,
            certificate=services.own.certificate(),
            app_runtime=services.apps.runtime,
            app_engine=services.apps.engine,
            app_images=services.apps.images.digests(),
            lease=services.lease.facts(),
            denials=services.lease.denials(),
        )


def _taken(name: str, host: str) -> Refused:
    return Refused(
        what=f"cannot create {name}",
        why=f"{host} has a guest of that name already",
        todo="Choose another name, or delete the other guest first.",
        kind=Kind.CONFLICT,
    )


def _no_recovery(name: str, why: str) -> Refused:
    return Refused(
        what=f"{name} is not recovered",
        why=why,
        todo=f"Look with `segue vm show {name}` where it is; a handoff that is cut off goes on by itself.",
        kind=Kind.CONFLICT,
    )
