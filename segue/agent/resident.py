"""What a guest is on this host, whatever kind of guest it is: its QEMU, or its container. The keeper decides."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from segue.adapters import clock
from segue.adapters.qemu.machine import Machine
from segue.adapters.qemu.memory_landing import MemoryLanding
from segue.adapters.qemu.postcopy_landing import PageReceiver
from segue.agent.services import Services
from segue.model.guest import Guest
from segue.model.handoff import Copy, Phase, Token

log = structlog.get_logger()

TAKEN_OVER = "taken over from "
"""Then comes the host that is dead: so it stands until it is started here, however often that fails meanwhile."""
GONE = "it was gone when the agent started (a power loss, or it was killed)"


class Body(Protocol):
    """What a guest is on this host while it is there: its QEMU, or its container."""

    @property
    def pid(self) -> int:
        """Its first process."""
        ...

    resumed_at_s: float
    """When it was last let run, by the wall clock; 0 where that is not known."""

    @property
    def running(self) -> bool:
        """True while it runs."""
        ...

    def alive(self) -> bool:
        """False once it has ended."""
        ...


class Resident(ABC):
    """`guest` is None where only a tombstone is left. Callers hold the keeper's lock."""

    def __init__(self, services: Services, uuid: str, guest: Guest | None) -> None:
        self._services = services
        self.uuid = uuid
        self.guest = guest
        self.machine: Machine | None = None
        self.beside: Machine | None = None
        """While it changes its QEMU in place: the other one, which may not run."""
        self.landing: MemoryLanding | None = None
        self.arriving: PageReceiver | None = None
        """Set for a guest that may run, or runs, before all of its memory is here."""
        self.heard_s = clock.steady_s()
        """When the agent of the other host last gave a sign of life."""
        self.deaf = False
        """There is a QEMU, and it answers nobody: it may run."""
        self.reason = ""
        self.wanted = "running"
        self.refusal = ""
        """Why QEMU does not let it run; empty once it did."""
        self.on_end: Callable[[], None] = lambda: None
        """Called when it ended by itself, where the kernel tells."""

    # What it is

    @property
    @abstractmethod
    def body(self) -> Body | None:
        """What the guest is here; None where nothing of it runs, or could."""

    @abstractmethod
    def copy(self) -> Copy:
        """What it holds, as the kernel or its own events say. A guest that can run counts as complete."""

    @property
    @abstractmethod
    def ended(self) -> bool:
        """True for one that has just ended, shut itself down or crashed, and is not cleared away yet."""

    @property
    def lacks_memory(self) -> bool:
        """True while it runs here, or could, and waits for pages that are somewhere else."""
        return False

    @property
    def stands(self) -> bool:
        """True for a guest that would run, but for a page that cannot come."""
        return False

    @property
    def plight(self) -> str:
        """The sentence for people: a reason that was kept, or what it waits for now."""
        return self.reason

    @property
    def qemu(self) -> tuple[str, bool]:
        """The version of its QEMU, and whether another one is installed by now."""
        return "", False

    @property
    def never_ran(self) -> bool:
        """True for a copy that came here, was told to run, and could not."""
        return False

    @property
    def awaits_start(self) -> bool:
        """True for a guest that this host took over, and that was not started yet."""
        return self.wanted == "stopped" and self.reason.startswith(TAKEN_OVER)

    @property
    def expected(self) -> bool:
        """True for a guest that should run, and nobody has said why it does not."""
        return self.wanted == "running" and not self.reason

    @property
    def due(self) -> bool:
        """True for one that ended by itself and is to be started again now."""
        return False

    @property
    def returns(self) -> bool:
        """True for one that is here, or starts again by itself."""
        return self.body is not None

    # What is done with it

    @abstractmethod
    async def admit(self, guest: Guest) -> None:
        """Whatever of it is here, under its host's guard. Raises Refused where there is no lease for it. guest: as it
        is from then on."""

    @abstractmethod
    async def take_up(self, phase: Phase) -> None:
        """After a start of the agent: as it stands, touched by nobody."""

    @abstractmethod
    async def boot(self) -> float:
        """Starts it from its disks or files; when it ran. Raises Refused, and then nothing is left of the try."""

    @abstractmethod
    async def resume(self) -> float:
        """Lets it run; the wall-clock time at which it did, 0 where it did not."""

    @abstractmethod
    async def make_known(self) -> None:
        """Switches and bridges learn where the guest is: what the client does not wait for."""

    @abstractmethod
    async def shut_down(self, within_s: float) -> None:
        """Asks the guest to shut down; returns when it has, or its time is over."""

    @abstractmethod
    async def epitaph(self, *, owned: bool) -> tuple[str, str]:
        """What the guest should be from now on, and why; for one that has ended. A crash is written down first."""

    @abstractmethod
    async def discard(self) -> None:
        """Ends it and takes its network away; the guest is still kept."""

    @abstractmethod
    async def drop(self) -> None:
        """Nothing of the guest stays here."""

    async def landed(self) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """Waits a moment for the copy to be complete here, or as complete as it has to be."""

    async def source_left(self) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """The host that it came from needs nothing more of its move."""

    async def tend_disks(self) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """Disks that are not all here are pulled, and people are told of the risk."""

    def postpone(self, why: str) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """It could not be started again: later, then."""

    # A second one beside it, which only machines have: see resident_machine.py

    async def take_up_beside(self, token: Token) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """After `take_up`."""

    def take_place(self) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """The second one is the one that counts."""

    async def step_back(self) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """The first one counts as before."""

    async def settle(self) -> None:  # noqa: B027 - most kinds of guests have nothing to do here
        """The first one ends."""

    # What people see

    def want(self, wanted: str, reason: str) -> None:
        """Keeps what the guest should be, and why."""
        self.wanted, self.reason = wanted, reason
        if self.guest is not None:
            self._services.journal.set_wanted(self.guest.name, wanted, reason)

    def note(self, reason: str) -> None:
        """Keeps a sentence for people beside the guest."""
        self.want(self.wanted, reason)

    def cannot_run(self, why: str) -> None:
        """Keeps why; one that was taken over is to be started nevertheless, and its memory stays promised."""
        self.refusal = why
        told = f"{self.reason.partition(':')[0]}: {why}" if self.awaits_start else why
        if self.reason != told:  # It is tried again with each tick, and said once.
            log.error("the guest cannot run", guest=self.uuid, why=why)
            self.note(told)


_tasks: set[asyncio.Task[None]] = set()


def later(work: Coroutine[Any, Any, None]) -> None:
    """Carries it out beside everything else; it is not forgotten half way."""
    task = asyncio.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
