"""Verifies a host before it takes load again: doctor's checks, its health, a burn-in guest that moves to and fro.

Whoever leads next begins it anew. It must leave no burn-in guest behind, and let no host pass of which anything is bad.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import structlog

from segue.adapters import clock
from segue.controller import fleet, single
from segue.controller.app import Controller
from segue.controller.host_run import Run as HostRun
from segue.controller.links import HostAway
from segue.controller.work import LOOK_S, Work, went_well, why
from segue.errors import Kind, Refused, SegueError
from segue.model.crash import Deed, OnCrash
from segue.model.health import Health
from segue.model.leadership import NotLeading, Tenure
from segue.model.maintenance import Step
from segue.model.migration import Limits
from segue.model.store import Away, Fenced
from segue.model.task import Task, TaskKind, TaskState
from segue.model.verification import Check, Said, Verification, burn_in_name, is_burn_in
from segue.policy import burn_in, rectify

log = structlog.get_logger()
DOCTOR_S: Final = 60.0
READY_S: Final = 180.0
"""An emulated guest boots in seconds; one that says nothing for so long never will."""
EVERY_S: Final = 5
MOVE_S: Final = 600.0
MAKE_S: Final = 180.0
"""A host may have to copy an image first."""
AWAY_S: Final = 60.0
"""So long agents may need to find the leader."""
SWEEP_S: Final = 5.0
CLEAR_S: Final = 60.0
BLACKOUT_S: Final = 10.0
"""Nobody waits for an answer of a burn-in guest."""
LEAVE: Final = OnCrash(qemu=Deed.LEAVE, panic=Deed.LEAVE, hang=Deed.LEAVE, host=Deed.LEAVE)


@dataclass(frozen=True)
class VerifyHost:
    """Body of POST /v1/hosts/{name}/verify.

    burn_s: 0: no guest. to: empty: the controller chooses; stay: it moves nowhere. mended: parts that begin anew, as
    `memory/DIMM_A1`; the host is believed only once it has passed.
    """

    burn_s: float = 60.0
    memory_bytes: int = 256 << 20
    image: str = "micro"
    to: str = ""
    stay: bool = False
    mended: tuple[str, ...] = ()


async def within(run: HostRun, step: Step) -> str:
    """As a step of a maintenance, by a task of its own; whoever leads next waits for the same. Raises Refused."""
    controller, number = run.controller, hashlib.sha256(f"verify {run.number()}".encode()).hexdigest()[:32]
    wish = {"host": run.host, **msgspec.to_builtins(VerifyHost(burn_s=step.burn_s))}
    await run.add_task(Task(number, TaskKind.VERIFY, "maintenance", clock.wall_s(), wish))
    while not (task := controller.books.known(controller.mirror.tasks, number).value).ended:
        run.wait_for(task.note)
        await controller.mirror.change(LOOK_S)
    if task.state is not TaskState.DONE:
        raise Refused(
            what=f"{run.host} does not pass", why=task.note, todo="Look at the host.", kind=Kind.POLICY
        )
    return task.note


class Failed(Exception):
    """A check did not pass; the rest is not tried."""


async def carry_out(work: Work) -> None:
    """All of it; the record is written whatever comes of it."""
    run = Run(work)
    await work.save(lambda task: replace(task, host=run.host, state=_begun(task.state)))
    await run.clear()
    await run.doubt()
    with contextlib.suppress(Failed):
        await run.all()
    await run.clear()
    if work.task.state is TaskState.CANCELLING:
        await work.end(TaskState.CANCELLED, f"{run.host} was not verified, and is not believed until it is")
        return
    made = await run.record()
    words = f"{run.host} has passed" if made.ok else f"{run.host} has not passed: {made.text}"
    rectified = f"; mended: {', '.join(made.rectified)}" if made.rectified else ""
    await work.end(TaskState.DONE if made.ok else TaskState.FAILED, f"{words}{rectified}"[:1000])


class Run:
    """One verification in one tenure."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._controller = work.controller
        wish = dict(work.task.wish)
        self.host = str(wish.pop("host"))
        self._wish = msgspec.convert(wish, VerifyHost)
        self._guest = burn_in_name(work.id)
        self._checks: list[Check] = []

    async def all(self) -> None:
        """In this order: what is cheap comes first, and nothing is begun on a host that is bad already."""
        await self._check("doctor", self._doctor)
        if self._wish.mended:
            await self._check("mended", self._begin_anew)
        before = await self._health()
        await self._check("health", lambda: self._well(before, before))
        if self._wish.burn_s:
            await self._check("burn-in", self._burn)
            if not self._wish.stay:
                await self._check("move", self._move)
            await self._check("health after it", self._well_after(before))

    async def doubt(self) -> None:
        """From here on it has not passed."""
        await self._keep(Verification(self.host, clock.wall_s(), self._work.task.by, False))

    async def record(self) -> Verification:
        """Kept; and what the host was blamed for is forgotten where it has passed."""
        ok = bool(self._checks) and all(check.ok for check in self._checks)
        mended = await self._rectify() if ok else ()
        made = Verification(
            self.host, clock.wall_s(), self._work.task.by, ok, tuple(self._checks), tuple(mended)
        )
        await self._keep(made)
        return made

    async def _keep(self, made: Verification) -> None:
        table, fence = self._controller.mirror.verifications, self._work.tenure.fence
        await self._work.add(table, self.host, made)
        await self._controller.books.change(table, self.host, lambda _: made, fence=fence)

    async def clear(self) -> None:
        """Ends the burn-in guest wherever it is, and of whichever leader."""
        while (shown := fleet.owners(self._controller.mirror).get(self._guest)) is not None:
            await self._settled()
            path = f"/v1/guests/{self._guest}"
            try:
                if shown.state != "stopped":
                    await self._call(shown.host, "POST", f"{path}/stop", {"within_s": 0.0})
                await self._call(shown.host, "DELETE", path)
            except HostAway as error:
                log.info("a burn-in guest is left", guest=self._guest, why=error.why)
                return
            except SegueError as error:
                if error.kind is not Kind.NOT_FOUND:
                    log.info("a burn-in guest is ended again", guest=self._guest, why=str(error))
            await self._controller.mirror.change(LOOK_S)

    async def _check(self, name: str, look: Callable[[], Awaitable[str]]) -> None:
        """What it says where all is well. Raises Failed."""
        if self._work.task.state is TaskState.CANCELLING:
            raise Failed
        await self._tell(name)
        try:
            self._checks.append(Check(name, True, await look()))
        except (NotLeading, Fenced, Away):
            raise  # It befell us, and says nothing of the host.
        except (Refused, TimeoutError) as error:
            text = f"{error.what}: {error.why}" if isinstance(error, Refused) else "it took too long"
            self._checks.append(Check(name, False, text))
            raise Failed from error

    async def _doctor(self) -> str:
        found = await self._ask(self.host, "/v1/doctor", DOCTOR_S)
        bad = [finding["what"] for finding in found["findings"] if finding["level"] == "fail"]
        if bad:
            raise self._refused("; ".join(bad), f"segue doctor {self.host}")
        warned = sum(finding["level"] == "warn" for finding in found["findings"])
        return f"{len(found['findings'])} checks, {warned} warnings"

    async def _begin_anew(self) -> str:
        for part in self._wish.mended:
            await self._mend(part)
        return ", ".join(self._wish.mended)

    async def _mend(self, part: str) -> None:
        """By whoever sees it. Raises Refused where nobody does."""
        sensed = self._controller.mirror.sensors.get(self.host)
        if sensed is None or all(one.part != part for one in sensed.value.health.parts):
            await self._call(self.host, "POST", "/v1/health/rectified", {"part": part})
            return
        await self._controller.books.change(
            self._controller.mirror.sensors,
            self.host,
            lambda now: replace(now, mended=(*now.mended, part)),
            fence=self._work.tenure.fence,
        )

    async def _health(self) -> tuple[Health, ...]:
        """By its agent, and by its BMC where it has one."""
        told = msgspec.convert(await self._ask(self.host, "/v1/health"), Health)
        sensed = self._controller.mirror.sensors.get(self.host)
        return (told, sensed.value.health) if sensed else (told,)

    async def _well(self, before: tuple[Health, ...], now: tuple[Health, ...]) -> str:
        if bad := rectify.against(before, now):
            raise self._refused("; ".join(bad), f"segue host health {self.host}")
        return "; ".join(one.level for one in now)

    def _well_after(self, before: tuple[Health, ...]) -> Callable[[], Awaitable[str]]:
        async def look() -> str:
            return await self._well(before, await self._health())

        return look

    async def _burn(self) -> str:
        """Its memory is written round and round, and looked at."""
        wish = self._wish
        body: dict[str, Any] = {
            "name": self._guest, "image": wish.image, "memory_bytes": wish.memory_bytes,
            "cmdline": burn_in.cmdline(wish.memory_bytes, EVERY_S), "on_crash": msgspec.to_builtins(LEAVE),
        }  # fmt: skip
        await self._make(body)
        return await self._prove(self.host, wish.burn_s)

    async def _make(self, body: dict[str, Any]) -> None:
        """A leader before us may have asked for it, and nobody has heard of it yet: that one comes to its end first."""
        until_s = clock.steady_s() + MAKE_S
        while True:
            await self.clear()
            try:
                await self._call(self.host, "POST", "/v1/guests", body)
                return
            except SegueError as error:
                may_come = isinstance(error, HostAway) or error.kind is Kind.CONFLICT
                if not may_come or clock.steady_s() >= until_s:
                    raise
                log.info("a burn-in guest is made again", guest=self._guest, why=error.why)
            await self._controller.mirror.change(LOOK_S)

    async def _prove(self, host: str, for_s: float) -> str:
        """So long it runs there, and every look of it is good. Raises Refused."""
        begun_s, said = clock.steady_s(), Said()
        least = max(1, int(for_s / (4 * EVERY_S)))
        while clock.steady_s() - begun_s < for_s or (not said.good and clock.steady_s() - begun_s < READY_S):
            await asyncio.sleep(LOOK_S)
            said = await self._said(host)
            ran_s = clock.steady_s() - begun_s
            await self._tell(f"on {host}, {min(ran_s, for_s):.0f} of {for_s:.0f} s, {said.good} looks good")
            if said.bad:
                break
            if self._work.task.state is TaskState.CANCELLING:
                raise Failed
        if bad := burn_in.against(said, least):
            raise self._refused(bad, "Look at its memory, and at its console.")
        return f"{said.good} looks at {self._wish.memory_bytes >> 20} MiB were good on {host}"

    async def _said(self, host: str) -> Said:
        shown = await self._ask(host, f"/v1/guests/{self._guest}")
        if shown["state"] != "running":
            raise self._refused(f"the burn-in guest is {shown['state']} on {host}", "segue incident list")
        return msgspec.convert(await self._ask(host, f"/v1/guests/{self._guest}/burn-in"), Said)

    async def _move(self) -> str:
        """Away and back: the host as source, and as target."""
        to = self._wish.to or await self._elsewhere()
        if not to:
            return "it stayed: no other host takes it in"
        blackouts = []
        for target in (to, self.host):
            blackouts.append(await self._send(target))
            await self._prove(target, 2.0 * EVERY_S)
        return f"to {to} and back, blackouts {blackouts[0] * 1e3:.0f} and {blackouts[1] * 1e3:.0f} ms"

    async def _elsewhere(self) -> str:
        try:
            choice = await single.choose_target(self._work, self._guest, {self.host: "it is being verified"})
        except Refused as error:
            log.info("a burn-in guest stays", guest=self._guest, why=error.why)
            return ""
        return choice.host

    async def _send(self, target: str) -> float:
        await self._tell(f"moves to {target}")
        async with asyncio.timeout(MOVE_S):
            await self._known()
            limits = msgspec.to_builtins(Limits(blackout_s=BLACKOUT_S, blackout_said=True))
            number = await self._begin_move(target, limits)
            while (kept := self._controller.mirror.migrations.get(number)) is None or not kept.value.ended:
                await self._controller.mirror.change(LOOK_S)
        if not went_well(kept.value):
            raise self._refused(f"its move to {target}: {why(kept.value)}", "Look at the migration's record.")
        return kept.value.outcome.blackout_s

    async def _begin_move(self, target: str, limits: dict[str, Any]) -> str:
        """An agent that goes away while it is asked may have begun it: that one counts, once it is back."""
        known = self._work.migrations_of(self._guest)
        while True:
            try:
                return await self._work.begin_move(self._guest, target, limits, force=True)
            except HostAway as error:
                log.info("a burn-in guest's move is asked for again", guest=self._guest, why=error.why)
            await self._controller.mirror.change(LOOK_S)
            if number := self._work.begun_beside(self._guest, known):
                return number

    async def _known(self) -> None:
        """Until the fleet has heard of it."""
        while self._guest not in fleet.owners(self._controller.mirror):
            await self._controller.mirror.change(LOOK_S)

    async def _settled(self) -> None:
        """A move of it that is under way ends first, or is taken back."""
        while (moving := fleet.under_way(self._controller.mirror).get(self._guest)) is not None:
            if moving.stage == "preparation":
                await self._work.take_back(moving)
            await self._controller.mirror.change(LOOK_S)

    async def _rectify(self) -> list[str]:
        """Parts that are only suspect for what they were before."""
        mended = [part for seen in await self._health() for part in rectify.remembered(seen)]
        for part in mended:
            await self._mend(part)
        return [*self._wish.mended, *mended]

    async def _ask(self, host: str, path: str, within_s: float = 30.0) -> Any:
        """What it says of itself. One whose agent is away is asked again for a while: after a change of leaders each
        is, and that says nothing against it. What it has lost meanwhile, as by a reboot, its burn-in guest shows."""
        until_s = clock.steady_s() + AWAY_S
        while True:
            try:
                return await self._call(host, "GET", path, within_s=within_s)
            except HostAway:
                if clock.steady_s() >= until_s:
                    raise
            await self._controller.mirror.change(LOOK_S)

    async def _call(
        self, host: str, method: str, path: str, body: object = None, within_s: float = 30.0
    ) -> Any:
        return await self._controller.links.call(host, method, path, body, within_s=within_s)

    async def _tell(self, progress: str) -> None:
        note = f"{self.host}: {progress}"
        if self._work.task.note != note:
            try:
                await self._work.note(note=note)
            except Refused as error:  # It is written, and only seen late here.
                if error.kind is not Kind.TIMEOUT:
                    raise

    def _refused(self, why_: str, todo: str) -> Refused:
        return Refused(what=f"{self.host} does not pass", why=why_, todo=todo, kind=Kind.POLICY)


async def keep_swept(controller: Controller, tenure: Tenure) -> None:
    """For as long as it leads: ends burn-in guests whose verification is over. Their host was away then, or had been
    asked for one by a leader that died, and came to make it only now."""
    looked = -1
    while True:
        if controller.mirror.guests.changes != looked:
            looked, ended = controller.mirror.guests.changes, _left(controller)
            for number in ended:
                await _sweep(Work(controller, tenure, number))
            looked = looked if not ended else -1
        await asyncio.sleep(SWEEP_S)


def _left(controller: Controller) -> list[str]:
    """The tasks that have left one. A guest that is only called as they are is some person's."""
    guests = {kept.value.name for kept in controller.mirror.guests.items().values()}
    if not any(map(is_burn_in, guests)):
        return []
    return [
        task.id
        for task in controller.mirror.tasks.values()
        if task.kind is TaskKind.VERIFY and task.ended and burn_in_name(task.id) in guests
    ]


async def _sweep(work: Work) -> None:
    log.info("a burn-in guest was left behind", task=work.id, guest=burn_in_name(work.id))
    try:
        async with asyncio.timeout(CLEAR_S):
            await Run(work).clear()
    except (TimeoutError, SegueError) as error:
        log.warning("a burn-in guest does not end yet", task=work.id, why=str(error))


def _begun(state: TaskState) -> TaskState:
    return TaskState.RUNNING if state is TaskState.WAITING else state
