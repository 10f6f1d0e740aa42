"""Commands and reboots of this host on a controller's word: each begun once, whatever becomes of the agent.

What was begun and cannot be told is said to be so. It must never run a command again of its own accord, and never
reboot a host on which a guest runs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

import structlog

from segue.adapters import clock
from segue.adapters.maintenance import commands, inventory
from segue.adapters.maintenance.commands import Result
from segue.adapters.maintenance.inventory import Machine
from segue.adapters.store.jobs import JobNotes
from segue.agent.config import Config
from segue.errors import Kind, Refused
from segue.model.guest import RunState
from segue.model.host import HostFacts
from segue.model.job import NOTHING_TO_DO, WITHIN_MOST_S, Inventory, Job, JobState, JobWish, Reboot
from segue.wire.frames import Shown

log = structlog.get_logger()
NUMBER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
BEGINS_S: Final = 10.0
"""By then a command has written down that it runs."""
ANSWERED_S: Final = 0.3
"""So long a reboot waits for its answer to be out."""
AT_ONCE: Final = 4
GONE: Final = frozenset({RunState.STOPPED, RunState.CRASHED})


class Inhabited(Protocol):
    """What is asked of the guests here."""

    def shown(self) -> list[Shown]:
        """All of them."""
        ...

    def moving(self) -> bool:
        """True while a guest is on its way to this host or from it, or is just being started or ended."""
        ...

    def close(self, why: str) -> None:
        """From now on nothing starts here or comes in; empty: it may again."""
        ...

    def facts(self) -> HostFacts:
        """What this host can do, now."""
        ...


class Hands(Protocol):
    """What is done to the machine: see adapters/maintenance."""

    def begin(self, folder: Path, number: str, script: str, within_s: float) -> None: ...
    def result(self, folder: Path, number: str) -> Result | None: ...
    def lives(self, folder: Path, number: str) -> bool | None: ...
    def end(self, folder: Path, number: str) -> None: ...
    def forget(self, folder: Path, number: str) -> None: ...
    async def reboot(self, command: Sequence[str]) -> str: ...


class Jobs:
    """All of this host. read: what is read of it for its inventory."""

    def __init__(
        self,
        config: Config,
        notes: JobNotes,
        boot: str,
        guests: Inhabited,
        hands: Hands = commands,
        read: Callable[[], Machine] = inventory.read,
    ) -> None:
        self._hands = hands
        self._read = read
        self._config = config
        self._notes = notes
        self._boot = boot
        self._guests = guests
        self._reboots: dict[str, asyncio.Task[None]] = {}
        """Those that this agent has begun, by their numbers."""
        self._opens: asyncio.TimerHandle | None = None

    @property
    def _folder(self) -> Path:
        return self._config.state_dir / "jobs"

    def begin(self, number: str, wish: JobWish) -> Job:
        """Begins it, once: asked again it is only looked at."""
        if known := self._notes.get(number):
            if known.wish != wish:
                raise _refused("the command", "its number was used for another one", Kind.CONFLICT)
            return self.look(number)
        self._demand_allowed("the command")
        if not NUMBER.fullmatch(number) or not wish.script.strip() or not 0 < wish.within_s <= WITHIN_MOST_S:
            raise _refused("the command", "its number, script or time makes no sense", Kind.USAGE)
        if sum(not job.ended for job in self.all()) >= AT_ONCE:
            raise _refused("the command", f"{AT_ONCE} others are under way on this host", Kind.BUSY)
        for old in self._notes.prune():
            self._hands.forget(self._folder, old)
        job = Job(number, wish, JobState.RUNNING, clock.wall_s(), self._boot)
        self._notes.put(job)
        log.info("a command begins", job=number, within_s=wish.within_s)
        try:
            self._hands.begin(self._folder, number, wish.script, wish.within_s)
        except OSError as error:
            job = replace(
                job, state=JobState.FAILED, ended_s=clock.wall_s(), why=f"it did not begin: {error}"
            )
            self._notes.put(job)
        return job

    def look(self, number: str) -> Job:
        """What became of it, as far as anybody can say. Raises Refused where it was never begun here."""
        job = self._notes.get(number)
        if job is None:
            raise _refused("the command", f"{number[:40]} was never begun on this host", Kind.NOT_FOUND)
        if job.ended:
            return job
        seen = self._seen(job)
        if seen.ended:
            log.info("a command has ended", job=number, state=seen.state, code=seen.code, why=seen.why)
            self._notes.put(seen)
        return seen

    def all(self) -> list[Job]:
        """The newest first."""
        return [self.look(job.id) for job in self._notes.all()]

    def end(self, number: str) -> Job:
        """Asks it to end."""
        job = self.look(number)
        if not job.ended:
            self._hands.end(self._folder, number)
        return job

    def _seen(self, job: Job) -> Job:
        found = self._hands.result(self._folder, job.id)
        if found is not None:
            return _ended(job, found)
        if job.boot != self._boot:
            return _lost(job, "the host was rebooted while it ran")
        alive = self._hands.lives(self._folder, job.id)
        if alive or (alive is None and clock.wall_s() - job.begun_s < BEGINS_S):
            return job
        found = self._hands.result(self._folder, job.id)  # It may have ended between the two looks.
        if found is not None:
            return _ended(job, found)
        return _lost(job, "its process is gone and left no result" if alive is False else "it never began")

    def inventory(self) -> Inventory:
        """What the host consists of, now."""
        facts, machine = self._guests.facts(), self._read()
        return Inventory(
            boot=self._boot,
            kernel=facts.kernel,
            qemu=facts.qemu_version,
            os=machine.os,
            microcode=machine.microcode,
            cpu=machine.cpu,
            cpu_flags=machine.cpu_flags,
            firmware=machine.firmware,
            cpus=facts.cpus,
            memory_bytes=facts.memory_total_bytes,
            cpu_models=facts.cpu_models,
            machines=facts.machines,
            commands=self._config.maintenance.commands,
            reboot_wanted=machine.reboot_wanted,
        )

    def reboot(self, number: str) -> Reboot:
        """Reboots the host, once. Raises Refused while a guest is here that would end with it.

        One that an earlier agent of the same boot did not come to is taken up: the host is still up, so it did not go.
        """
        known = self._notes.reboot(number)
        if known and (known.boot != self._boot or known.why or number in self._reboots):
            return known
        self._demand_allowed("the reboot")
        if not NUMBER.fullmatch(number):
            raise _refused("the reboot", "its number makes no sense", Kind.USAGE)
        if why := self._inhabited():
            raise _refused("the reboot", why, Kind.CONFLICT)
        self._guests.close("is about to reboot")  # A guest that crashed is not started again in between.
        made = known or Reboot(number, self._boot, clock.wall_s())
        self._notes.put_reboot(made)
        log.warning("this host reboots", reboot=number)
        self._reboots[number] = asyncio.create_task(self._go(made))
        return made

    def close(self, within_s: float) -> None:
        """Nothing starts here or comes in: its power is about to be taken. Raises Refused while a guest is here.

        It opens again by itself where that does not happen.
        """
        if not 0 < within_s <= WITHIN_MOST_S:
            raise _refused("the closing", "its time makes no sense", Kind.USAGE)
        if why := self._inhabited():
            raise _refused("the closing", why, Kind.CONFLICT)
        if self._opens is not None:
            self._opens.cancel()
        self._guests.close("is about to lose its power")
        self._opens = asyncio.get_running_loop().call_later(within_s, self.open)
        log.warning("this host is about to lose its power", within_s=within_s)

    def open(self) -> None:
        """It keeps its power after all; one that was not closed is no error. A reboot keeps it closed."""
        if self._opens is not None:
            self._opens.cancel()
            self._opens = None
            if all(task.done() for task in self._reboots.values()):
                self._guests.close("")

    def rebooted(self, number: str) -> Reboot:
        """What became of it. Raises Refused where it was never asked for."""
        found = self._notes.reboot(number)
        if found is None:
            raise _refused("the reboot", f"{number[:40]} was never asked for", Kind.NOT_FOUND)
        return found

    async def _go(self, made: Reboot) -> None:
        await asyncio.sleep(ANSWERED_S)
        why = self._inhabited() or await self._hands.reboot(self._config.maintenance.reboot)
        if why:
            log.error("this host does not reboot", reboot=made.id, why=why)
            self._guests.close("")
            self._notes.put_reboot(replace(made, why=why))

    def _inhabited(self) -> str:
        """Why it must not go down now; empty where it may."""
        if names := [shown.name for shown in self._guests.shown() if shown.state not in GONE]:
            return f"guests are here: {', '.join(names)}"
        return "a guest is on its way here, or from here" if self._guests.moving() else ""

    def _demand_allowed(self, what: str) -> None:
        if not self._config.maintenance.commands:
            raise Refused(
                what=f"{what} is not done",
                why=f"{self._config.name} lets no controller run commands or reboot it",
                todo="Write `commands = true` under [maintenance] in its agent.toml, and restart the agent.",
                kind=Kind.AUTH,
            )


def _ended(job: Job, found: Result) -> Job:
    state, why = JobState.DONE, ""
    if found.why == "late":
        state, why = JobState.LATE, f"it did not end within {job.wish.within_s:g} s"
    elif found.why:
        state, why = JobState.FAILED, "it was ended on request"
    elif found.code == NOTHING_TO_DO:
        state, why = JobState.NOTHING, "there was nothing to do"
    elif found.code:
        state = JobState.FAILED
        why = f"it ended with {found.code}" if found.code > 0 else f"signal {-found.code} ended it"
    return replace(
        job, state=state, why=why, ended_s=found.ended_s, code=found.code, head=found.head, tail=found.tail,
        output_bytes=found.output_bytes,
    )  # fmt: skip


def _lost(job: Job, why: str) -> Job:
    return replace(
        job, state=JobState.LOST, ended_s=clock.wall_s(), why=f"{why}: it is not known how far it came"
    )


def _refused(what: str, why: str, kind: Kind) -> Refused:
    return Refused(
        what=f"{what} is not done",
        why=why,
        todo="Look at the host, and ask again with a new number.",
        kind=kind,
    )
