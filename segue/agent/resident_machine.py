"""One guest's QEMU on this host: what it holds and what can be done with it. Whether it may, the keeper decides."""

from __future__ import annotations

import contextlib

import structlog

from segue.adapters import clock
from segue.adapters.qemu import address_map, in_place, revival
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.memory_landing import MemoryLanding
from segue.adapters.qemu.monitor import QemuDeaf, QemuGone, QemuRefused
from segue.adapters.qemu.postcopy_landing import PageReceiver
from segue.agent import beside, plant
from segue.agent.resident import Body, Resident, later
from segue.errors import Refused
from segue.model.arrival import Flow
from segue.model.crash import Cause
from segue.model.guest import Guest
from segue.model.handoff import HERE, Copy, Phase, Token
from segue.model.landing import Placement

log = structlog.get_logger()

OWNED = frozenset({Phase.OWNER, Phase.OFFERED, Phase.RELEASED})
SILENT_S = 6.0
"""The source of a post-copy asks once a second; QEMU itself would notice a dead path after a quarter of an hour."""
LANDED_WITHIN_S = 2.0
"""The target's QEMU says `completed` to its own monitor a little after it said so to the source."""


class MachineResident(Resident):
    """Callers hold the keeper's lock."""

    @property
    def body(self) -> Body | None:
        """What the guest is here; None where nothing of it runs, or could."""
        return self.machine

    def copy(self) -> Copy:
        """What the QEMU on this host holds, from its own events. A guest that can run counts as complete."""
        if self.deaf:
            return Copy.RUNNING
        if self.machine is None or not self.machine.alive():
            return Copy.NONE
        if self.machine.running:
            return Copy.RUNNING
        could_run = self.arriving is not None and self.arriving.loaded
        if self.landing is not None and not self.landing.is_complete and not could_run:
            return Copy.PARTIAL
        return Copy.COMPLETE

    @property
    def lacks_memory(self) -> bool:
        """True while it runs here, or could, and waits for pages that are somewhere else."""
        return self.arriving is not None and self.arriving.flow in {Flow.FLOWING, Flow.BROKEN}

    @property
    def stands(self) -> bool:
        """True for a guest that would run, but for a page that cannot come."""
        if self.deaf:
            return True
        silent = clock.steady_s() - self.heard_s > SILENT_S
        flow = self.arriving.flow if self.arriving is not None else Flow.WHOLE
        return flow is Flow.BROKEN or (flow is Flow.FLOWING and silent)

    @property
    def plight(self) -> str:
        """The sentence for people: a reason that was kept, or what it waits for now."""
        if self.deaf:
            return "its QEMU does not answer: it may wait for memory whose path is broken"
        if self.stands:
            return "it stands: the path is broken over which its memory comes; it goes on when the path is mended"
        if self.lacks_memory and self.machine is not None and self.machine.running:
            return "it runs, and the rest of its memory still comes from the source (post-copy)"
        return self.reason

    @property
    def qemu(self) -> tuple[str, bool]:
        """The version of its QEMU, and whether another one is installed by now."""
        if self.machine is None:
            return "", False
        return self.machine.version, in_place.is_outdated(self.machine)

    @property
    def ended(self) -> bool:
        """True for one that has just ended, shut itself down or crashed, and is not cleared away yet."""
        machine = self.machine
        if machine is not None and machine.crash is Cause.WATCHDOG and self.lacks_memory:
            machine.crash = None  # It did not hang: it waited for a page. It is let run on.
        return machine is not None and (not machine.alive() or machine.is_over)

    async def epitaph(self, *, owned: bool) -> tuple[str, str]:
        """What the guest should be from now on, and why; for one that has ended. A crash is written down first."""
        assert self.guest is not None
        by_guest = self.machine.ended_by_guest if self.machine is not None else ""
        if by_guest:
            return "stopped", f"the guest ended by itself ({by_guest})"
        if not owned or self.wanted != "running":
            return "stopped", self.reason
        killed = Cause.QEMU_ENDED if self._services.lease.lives else Cause.CUT_OFF
        cause = (self.machine.crash if self.machine is not None else None) or killed
        return "running", (await self._services.crashes.begin(self.guest, cause, self.machine)).text

    async def admit(self, guest: Guest) -> None:
        """See Resident."""
        if self.machine is not None:
            await self._services.lease.admit(guest, self.machine.pid)

    async def shut_down(self, within_s: float) -> None:
        """Asks the guest to shut down; returns when it has, or its time is over."""
        if self.machine is not None and not self.machine.gone.is_set():
            await plant.shut_down(self.machine, within_s)

    @property
    def never_ran(self) -> bool:
        """True for a copy that came here, was told to run, and could not."""
        return bool(self.refusal) and self.machine is not None and self.machine.fresh

    async def take_up(self, phase: Phase) -> None:
        """After a start of the agent: the QEMU as it stands, touched by nobody."""
        assert self.guest is not None
        try:
            self.machine = await self._find(self.guest)
        except QemuDeaf as error:
            self.deaf = True
            log.warning("a guest's QEMU does not answer", guest=self.uuid, error=str(error))
            return
        self.deaf = False
        if self.machine is not None:
            await self._take_up_copy(self.machine, incoming=phase is Phase.INCOMING)
        if phase in OWNED and (self.machine is None or not self.machine.fresh):
            self._services.intake.settle(self.uuid)  # The agent died before it could note that the guest ran.

    async def _take_up_copy(self, machine: Machine, *, incoming: bool) -> None:
        receiver = PageReceiver(machine)
        await receiver.take_up()
        lacks = receiver.flow in {Flow.FLOWING, Flow.BROKEN}
        if (incoming and not machine.from_disks) or (lacks and not await revival.needed(machine)):
            self.arriving = receiver
        if incoming and not machine.from_disks:
            self.landing = self._landing_of(machine)
            await self.landing.complete(within_s=0)

    async def take_up_beside(self, token: Token) -> None:
        """After `take_up`: the second QEMU of a guest that changes its QEMU in place; any other second one ends.

        Where the token says that the second one may run, it alone counts: the first has stale devices. Only then is
        it known that nothing runs behind the guest's taps.
        """
        assert self.guest is not None
        if token.peer != HERE:
            await self._end_beside(None)
            if self.machine is None and not self.deaf:
                await plant.clear_network(self._services, self.guest)
            return
        try:
            second = await self._find_beside(self.guest, token.migration)
        except QemuDeaf:
            self.deaf = self.deaf or token.phase is Phase.OWNER
            return
        if self.machine is None and (second is None or token.phase is not Phase.OWNER) and not self.deaf:
            await plant.clear_network(self._services, self.guest)
        if token.phase is not Phase.OWNER:
            self.beside = second
        elif self.machine is None or not in_place.took_place(self.machine, token.migration):
            self.machine, self.beside = second, self.machine

    def take_place(self) -> None:
        """The second QEMU is the one that counts; the first stands beside it. Safe to repeat."""
        if self.beside is not None:
            self.beside, self.machine = self._in_order()
        self.landing = self.arriving = None

    def _in_order(self) -> tuple[Machine | None, Machine | None]:
        """(the first QEMU, the second); one that has ended counts as one, one that was never there as None."""
        both = [one for one in (self.machine, self.beside) if one is not None]
        first = next((one for one in both if not one.places.mark), None)
        return first, next((one for one in both if one.places.mark), None)

    async def step_back(self) -> None:
        """The first QEMU counts as before, and the second ends."""
        self.machine, new = self._in_order()
        self.beside = None
        await self._end_beside(new)
        if self.machine is not None and self.machine.alive():
            await beside.let_go(self.machine)

    async def settle(self) -> None:
        """The first QEMU ends, and the second is found where it was. Safe to repeat."""
        if self.machine is None:
            if self.beside is not None:
                await self.beside.end()
            await self.discard()  # The second one died while no agent looked.
            return
        await beside.settle(self._services, self.beside, self.machine)
        self.beside = None
        if self.guest is not None and not self._services.metadata.serves(self.guest):
            await self._services.metadata.attach(
                self.guest
            )  # The first one had ended when the agent came up.
        await self.make_known()

    async def make_room(self, placement: Placement) -> MemoryLanding:
        """An empty paused QEMU that waits for the guest's memory; the one that is there, if there is one.

        Only a new one is told where its devices will be: in another the guest's own state may be already.
        """
        assert self.guest is not None
        if self.machine is None or not self.machine.alive():
            await plant.clear_network(self._services, self.guest)
            self.machine = await self._start(self.guest, incoming=True)
            await address_map.set_out(self.machine.monitor, placement.regions)
            self.landing = self._landing_of(self.machine)
            self.arriving = PageReceiver(self.machine) if placement.shape.post_copy else None
        assert self.landing is not None
        await self.machine.describe(devices=not placement.without_description)
        return self.landing

    async def source_left(self) -> None:
        """See Resident: an older agent that moves this guest next says nothing of its devices' description."""
        if self.machine is not None and self.machine.alive():
            with contextlib.suppress(QemuGone, TimeoutError):
                await self.machine.describe(devices=True)

    async def make_ready(self) -> None:
        """A paused QEMU that would start the guest from its disks; the one that is there, if there is one."""
        assert self.guest is not None
        if self.machine is None or not self.machine.alive():
            await plant.clear_network(self._services, self.guest)
            self.machine = await self._start(self.guest, incoming=False)
        self.landing = self.arriving = None

    async def landed(self) -> None:
        """Waits a moment for the copy to be complete here, or as complete as it has to be."""
        assert self.landing is not None
        try:
            if self.arriving is not None:
                await self.arriving.wait_loaded(within_s=LANDED_WITHIN_S)
                return
            await self.landing.complete(within_s=LANDED_WITHIN_S)
        except QemuGone:
            log.warning("the incoming copy has died", guest=self.uuid)

    async def resume(self) -> float:
        """Lets the vCPUs run; the wall-clock time at which they did, 0 where they did not."""
        if self.machine is None or self.guest is None:
            return 0.0
        self.refusal = ""
        if not self.machine.alive():
            self.cannot_run("its QEMU ended before it was told to run")
            return 0.0
        try:
            first = self.landing is None and not self.machine.places.mark
            if first and await revival.needed(self.machine):
                self.machine = await plant.revive(self._services, self.machine)
            await self._services.intake.close(self.guest)
            await self.admit(self.guest)
            resumed_at_s = await self.machine.cont()
        except (QemuRefused, Refused, OSError) as error:
            self.cannot_run(f"QEMU does not let it run: {error}")
            return 0.0
        except QemuGone:
            log.error("the guest's QEMU ended when it was to run", guest=self.uuid)
            return 0.0
        self.landing = None
        self._services.intake.settle(self.uuid)
        self._services.journal.ran(self.guest.name)
        self.wanted, self.reason = "running", ""
        later(self.make_known())
        return resumed_at_s

    async def make_known(self) -> None:
        """Switches and bridges learn where the guest is: what the client does not wait for."""
        if self.guest is None or self.machine is None:
            return
        try:
            if not self.machine.places.mark:
                await plant.open_ports(self._services, self.guest)
            await self.machine.announce()
        except (QemuGone, QemuRefused, OSError) as error:
            log.warning("the guest's place is not announced", guest=self.uuid, error=str(error))

    async def boot(self) -> float:
        """Starts it from its disks; when it resumed. Raises Refused, and then nothing is left of the try."""
        assert self.guest is not None
        await plant.clear_network(self._services, self.guest)
        self.machine = await self._start(self.guest, incoming=False)
        self.landing = self.arriving = None
        resumed_at_s = await self.resume()
        if self.refusal:
            await self.discard()
            raise Refused(
                what=f"{self.guest.name} is not started",
                why=self.refusal,
                todo="Mend what QEMU says, then start it again.",
            )
        return resumed_at_s

    async def discard(self) -> None:
        """Ends the QEMU and takes its network away; the guest is still kept."""
        if self.guest is not None:
            await self._end_beside(self.beside)
            await self._remove(self.guest)
            await self._drop_disks(self.guest)
        self._forget_machine()

    def _forget_machine(self) -> None:
        self.machine = self.beside = self.landing = self.arriving = None
        self.deaf = False

    async def drop(self) -> None:
        """Nothing of the guest stays here."""
        if self.guest is not None:
            await self._end_beside(self.beside)
            await self._remove(self.guest)
            await self._drop_disks(self.guest)
            self._services.pulling.forget(self.uuid)
            self._services.journal.drop_guest(self.guest.name)
        self._forget_machine()
        self.guest = None

    async def _drop_disks(self, guest: Guest) -> None:
        """Files that it has not run with go, and so does what is known of where they come from."""
        if self._services.intake.holds(self.uuid):
            self._services.pulling.forget(self.uuid)
        await self._services.intake.drop(guest)

    async def tend_disks(self) -> None:
        """Disks that are not all here are pulled, and people are told of the risk."""
        if self.guest is None or self.machine is None or not self.machine.alive():
            return
        if not self._services.pulling.origins(self.uuid):
            return
        said = await self._services.pulling.tend(self.guest, self.machine)
        if said != self.reason:
            self.note(said)

    # The QEMU itself

    async def _find(self, guest: Guest) -> Machine | None:
        return await plant.find(self._services, guest)

    async def _start(self, guest: Guest, *, incoming: bool) -> Machine:
        return await plant.start(self._services, guest, incoming=incoming)

    async def _remove(self, guest: Guest) -> None:
        await plant.remove(self._services, guest, self.machine)

    async def _find_beside(self, guest: Guest, migration: str) -> Machine | None:
        return await beside.find(self._services, guest, migration)

    async def _end_beside(self, machine: Machine | None) -> None:
        assert self.guest is not None
        await beside.end(self._services, self.guest, machine)

    def _landing_of(self, machine: Machine) -> MemoryLanding:
        return MemoryLanding(machine)
