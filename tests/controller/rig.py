"""A real controller in a process of its own, over TLS, and callers with real certificates and tokens."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from segue.adapters import pki
from segue.adapters.own_tls import OwnTls
from segue.adapters.pki import Pair
from segue.agent import link
from segue.cli.central import Controller
from segue.controller import folder
from segue.controller.folder import Folder
from segue.errors import SegueError
from tests import freezing
from tests.controller.hatchery import hatch
from tests.controller.toy import ToyHost, World

LIMIT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Process:
    """One controller."""

    def __init__(
        self, path: Path, store: str, name: str, more: Sequence[str], environ: dict[str, str], port: int
    ) -> None:
        self.port = port or free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        words = ["controller", "run", "--dir", str(path), "--store", store]
        words += ["--address", "127.0.0.1", "--port", str(self.port), "--name", name, *more]
        self._process = hatch(words, {**os.environ, **environ}, path.parent / f"{name}.log")

    def kill(self) -> None:
        """Without a word, as a crash would."""
        self._end(signal.SIGKILL)

    def freeze(self, store: Path) -> None:
        """It does nothing any more, and holds no lock of that file; its connections stay."""
        freezing.stop_between_writes(self._process.pid, store)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """In good order."""
        self._end(signal.SIGTERM)

    def close(self) -> None:
        """The end of it, however it stands."""
        self.kill()
        self._process.close()

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        assert self._process.has_ended(LIMIT_S), f"not within {LIMIT_S:.0f} s: a controller ends"

    @property
    def alive(self) -> bool:
        return not self._process.has_ended()


class Rig:
    """A folder with a CA, a store, controllers, and toy hosts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = Folder(path / "controller")
        folder.init(self.folder, [], None)
        self.store = f"sqlite:///{path}/store.db"
        self.world = World()
        self.controllers: list[Process] = []
        self.planned_urls: tuple[str, ...] = ()

    def start(self, name: str = "c1", *more: str, port: int = 0, **environ: str) -> Process:
        made = Process(self.folder.path, self.store, name, more, environ, port)
        self.controllers.append(made)
        return made

    def urls(self) -> tuple[str, ...]:
        return tuple(controller.url for controller in self.controllers)

    def caller(self, pair: Pair | None = None, token: str = "", urls: tuple[str, ...] = ()) -> Controller:
        pair = pair or self.folder.admin
        tls = {"ca": str(self.folder.ca), "cert": str(pair.certificate), "key": str(pair.key)}
        return Controller(urls or self.urls(), tls, token)

    def certificate(self, role: str, name: str, *, server: bool = False) -> Pair:
        pair = Pair(self.path / f"{role}-{name}.pem", self.path / f"{role}-{name}.key")
        if pair.key.exists():
            return pair
        authority = self.folder.authority()
        uri = f"segue://fleet/{role}/{name}"
        return pki.issue(
            authority, pair, common_name=name, uri=uri, dns_names=[name], server=server or role == "host"
        )

    async def host(self, name: str, labels: dict[str, str] | None = None) -> ToyHost:
        made = ToyHost(self.world, self.path, name, labels)
        await made.begin(self.way(name, labels or {}))
        return made

    def way(self, name: str, labels: dict[str, str]) -> link.Way:
        context = OwnTls(self.folder.ca, self.certificate("host", name)).client()
        return link.Way(
            controllers=self.urls(),
            tls=lambda: context,
            own_socket=self.path / f"{name}.sock",
            own_url=f"https://{name}:7443",
            labels=labels,
        )

    async def call(
        self, method: str, path: str, body: object = None, caller: Controller | None = None
    ) -> Any:
        return await asyncio.to_thread((caller or self.caller()).call, method, path, body)

    def context(self, pair: Pair | None = None, url: str = "") -> dict[str, str]:
        """The environment in which `segue` is a person's command line."""
        pair, path = pair or self.folder.admin, self.path / "context.toml"
        path.write_text(
            f'[controller]\nurls = ["{url or self.urls()[0]}"]\n[tls]\nca = "{self.folder.ca}"\n'
            f'cert = "{pair.certificate}"\nkey = "{pair.key}"\n'
        )
        return {**os.environ, "SEGUE_CONTEXT": str(path), "COLUMNS": "200"}

    async def segue(
        self, *words: str, pair: Pair | None = None, url: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """A command as it is typed."""
        argv, env = [sys.executable, "-m", "segue", *words], self.context(pair, url)
        return await asyncio.to_thread(
            subprocess.run, argv, env=env, capture_output=True, text=True, check=False
        )

    async def until(self, what: str, seen: Callable[[], Any], limit_s: float = LIMIT_S) -> Any:
        """What `seen` answers, called in a thread, once it is true."""
        until_s, last = time.monotonic() + limit_s, None
        while time.monotonic() < until_s:
            try:
                last = await asyncio.to_thread(seen)
            except SegueError as error:
                last = None
                problem = error
                del problem
            if last:
                return last
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {limit_s} s: {what}\n{self.logs()}")

    async def up(self, hosts: int) -> None:
        await self.until(
            "all hosts are up", lambda: self.caller().call("GET", "/status")["hosts_up"] == hosts
        )

    async def adopt(self, caller: Controller) -> None:
        """Puts that controller's fleet in the place of the one whose hosts it has met."""
        met = await self.until("hosts came", lambda: caller.call("GET", "/identity")["strangers"])
        for fleet in {*met.values()}:
            await self.call("POST", "/identity/succeeds", {"fleet": fleet}, caller)

    async def ended(self, number: str, limit_s: float = LIMIT_S) -> dict[str, Any]:
        def look() -> Any:
            task = self.caller().call("GET", f"/tasks/{number}")
            return task if task["ended_s"] else None

        return dict(await self.until("the task ends", look, limit_s))

    def logs(self) -> str:
        return "\n".join(path.read_text()[-4000:] for path in self.path.glob("*.log"))

    async def close(self) -> None:
        for host in self.world.hosts.values():
            if not host.lost:
                await host.die()
        while self.controllers:
            self.controllers.pop().close()
