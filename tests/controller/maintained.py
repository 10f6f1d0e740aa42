"""A toy host that can be maintained: its commands are run by the agent's own code, its reboots cut its link."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp.web
import msgspec

from segue.adapters.store.journal import Journal
from segue.agent import link
from segue.agent.config import Config, Tls
from segue.agent.jobs import Jobs
from segue.agent.maintenance_config import MaintenanceConfig
from segue.errors import SegueError
from segue.model.job import JobWish
from tests.controller.rig import Rig
from tests.controller.toy import ToyHost, _json, _refusal

NOWHERE = Path("/nowhere")
DOWN_S = 0.6


class MaintainedHost(ToyHost):
    """As a host whose agent.toml allows commands."""

    def __init__(self, rig: Rig, name: str, labels: dict[str, str] | None = None) -> None:
        super().__init__(rig.world, rig.path, name, labels)
        self._rig = rig
        self._folder = rig.path / name
        self._journal = Journal(self._folder / "journal.db", "boot")
        self.boots = 0
        self.closed = ""
        self.closed_when_off: list[str] = []
        """What it had said of itself each time it lost its power by its BMC."""
        self.ended: list[str] = []
        """Guests that were there when it lost its power."""
        self.commands = True
        self.answers_after_s = 0.0
        self.nonsense = False
        """Its agent is none that we know."""
        self.does_not_come_back = False
        self.outdated: set[str] = set()
        """Guests that run in another QEMU than the installed one."""
        self.fixed: set[str] = set()
        """Those of them whose QEMU cannot be replaced in place."""
        self._cycles: set[asyncio.Task[None]] = set()
        self.jobs = self._jobs()

    @classmethod
    async def made(cls, rig: Rig, name: str, labels: dict[str, str] | None = None) -> MaintainedHost:
        host = cls(rig, name, labels)
        await host.begin(rig.way(name, labels or {}))
        return host

    def _jobs(self) -> Jobs:
        config = Config(
            self.name, "127.0.0.1", Tls(NOWHERE, NOWHERE, NOWHERE), state_dir=self._folder,
            maintenance=MaintenanceConfig(commands=self.commands, reboot=("true",)),
        )  # fmt: skip
        return Jobs(config, self._journal.jobs, f"{self.name}-boot{self.boots}", self)

    def shown(self) -> list[Any]:
        return self.guests()

    def moving(self) -> bool:
        return any(not m.ended for m in self._migrations.values())

    def close(self, why: str) -> None:
        """Its guests are never started by themselves."""
        self.closed = why

    def more_routes(self, app: aiohttp.web.Application) -> None:
        app.router.add_get("/v1/guests", self._shown)
        app.router.add_put("/v1/jobs/{id}", self._begin_job)
        app.router.add_get("/v1/jobs/{id}", self._job)
        app.router.add_put("/v1/reboots/{id}", self._reboot)
        app.router.add_put("/v1/closed", self._close)
        app.router.add_delete("/v1/closed", self._open)

    async def _inventory(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if self.qemu_is_gone:
            return _refusal("this host's QEMU cannot be used")
        return _json({"boot": 5} if self.nonsense else self.jobs.inventory())

    async def _shown(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return _json([replace(shown, qemu_outdated=shown.name in self.outdated) for shown in self.guests()])

    async def _update(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        name, target = request.match_info["name"], (await request.json())["or_migrate"]
        if name in self.fixed and not target:
            return _refusal("its virtio queues are too large")
        answer = self._begin(request, target if name in self.fixed else self.name)
        if answer.status == 202:
            self.outdated.discard(name)
            await asyncio.sleep(self.answers_after_s)
        return answer

    async def _begin_job(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        wish = msgspec.json.decode(await request.read(), type=JobWish)
        return self._told(lambda: self.jobs.begin(request.match_info["id"], wish))

    async def _job(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return self._told(lambda: self.jobs.look(request.match_info["id"]))

    async def _reboot(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        number = request.match_info["id"]
        is_new = self._journal.jobs.reboot(number) is None
        answer = self._told(lambda: self.jobs.reboot(number))
        if is_new and answer.status < 300:
            task = asyncio.create_task(self._power_cycle())
            self._cycles.add(task)
            task.add_done_callback(self._cycles.discard)
        return answer

    async def _close(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        within_s = (await request.json())["within_s"]
        return self._told(lambda: self.jobs.close(within_s))

    async def _open(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        return self._told(self.jobs.open)

    def _told(self, ask: Any) -> aiohttp.web.Response:
        try:
            return _json(ask())
        except SegueError as error:
            return _refusal(error.why)

    async def _power_cycle(self) -> None:
        await asyncio.sleep(0.1)
        await self.lose_link()
        assert not [shown for shown in self.guests() if shown.state == "running"], "guests ended with it"
        self.boots += 1
        self.jobs = self._jobs()
        await asyncio.sleep(DOWN_S)
        if not self.does_not_come_back:
            self.regain_link()

    def plug_into(self, power: Path) -> None:
        """It lives while that file is there."""
        task = asyncio.create_task(self._live_by(power))
        self._cycles.add(task)

    async def _live_by(self, power: Path) -> None:
        while True:
            while power.exists():
                await asyncio.sleep(0.02)
            await self.lose_link()
            self.closed_when_off.append(self.closed)
            self.closed = ""
            self.ended += [shown.name for shown in self.guests() if shown.state == "running"]
            while not power.exists():
                await asyncio.sleep(0.02)
            self.boots += 1
            self.jobs = self._jobs()
            await asyncio.sleep(DOWN_S)
            self.regain_link()

    async def lose_link(self) -> None:
        assert self._link is not None
        self._link.cancel()
        await asyncio.wait({self._link})

    def regain_link(self) -> None:
        self._link = asyncio.create_task(link.keep(self._rig.way(self.name, self.labels), self))
